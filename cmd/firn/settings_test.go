package main

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/brokertest"
)

// alterBroker sets a setting of a broker, or with the empty name of all, or with no value takes it back. It returns the
// error's text and the error.
func alterBroker(t *testing.T, cl *kgo.Client, broker, name string, value *string) (text string, err error) {
	t.Helper()
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	res, conf := kmsg.NewIncrementalAlterConfigsRequestResource(), kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	res.ResourceType, res.ResourceName = kmsg.ConfigResourceTypeBroker, broker
	conf.Name, conf.Value = name, value
	if value == nil {
		conf.Op = kmsg.IncrementalAlterConfigOpDelete
	}
	res.Configs = append(res.Configs, conf)
	req.Resources = append(req.Resources, res)
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		t.Fatal(err)
	}
	r := &resp.Resources[0]
	if r.ErrorMessage != nil {
		text = *r.ErrorMessage
	}
	return text, kerr.ErrorForCode(r.ErrorCode)
}

// A broker's settings at run time count from the answer on: its own before those of all, and the topic's before both.
// What cannot be set at run time says so.
func TestBrokerSettingsAtRunTime(t *testing.T) {
	t.Parallel()
	p := brokertest.Start(t)
	createTopic(t, p, "plain", 1)
	createTopic(t, p, "own", 1, "max.message.bytes", "5000")
	awaitLed(t, p, "plain", 1)
	awaitLed(t, p, "own", 1)
	cl := byName(t, p)
	ctx, cancel := context.WithTimeout(context.Background(), 2*testTimeout)
	defer cancel()
	value := func(s string) *string { return &s }
	for _, s := range []struct {
		broker, value string // empty: taken back
		plain, own    int    // the largest value that goes in, about
	}{{"", "2000", 1900, 4900}, {"1", "1000", 900, 4900}, {"1", "", 1900, 4900}, {"", "", 100_000, 4900}} {
		v := value(s.value)
		if s.value == "" {
			v = nil
		}
		if text, err := alterBroker(t, cl, s.broker, "message.max.bytes", v); err != nil {
			t.Fatal(err, text)
		}
		for name, most := range map[string]int{"plain": s.plain, "own": s.own} {
			// The answer says that the setting is in the metadata; the partition follows at once, but not before it.
			p.Eventually("batches of the new size are refused", func() (bool, error) {
				err := produceRaw(ctx, cl, name, batchOf(most+200, nil))
				return most > 10_000 || errors.Is(err, kerr.MessageTooLarge), nil
			})
			p.Eventually("batches of the new size are taken", func() (bool, error) {
				return produceRaw(ctx, cl, name, batchOf(most, nil)) == nil, nil
			})
		}
	}
	for name, c := range map[string]struct{ value, says string }{
		"no.such.setting":     {"1", "no.such.setting"},
		"num.partitions":      {"3", "no change at run time"},
		"log.retention.hours": {"3", "no change at run time"},
		"num.io.threads":      {"3", "Kafka's"},
		"message.max.bytes":   {"many", "many"},
	} {
		if text, err := alterBroker(t, cl, "1", name, &c.value); !errors.Is(err, kerr.InvalidConfig) || !strings.Contains(text, c.says) || !strings.Contains(text, name) {
			t.Errorf("%s: %v, %q", name, err, text)
		}
	}
}

// A list among the brokers' settings can be added to and taken from, as one of a topic.
func TestBrokerListAtRunTime(t *testing.T) {
	t.Parallel()
	p := brokertest.Start(t)
	adm := kadm.NewClient(byName(t, p))
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	const name = "log.cleanup.policy"
	for _, s := range []struct {
		op          kadm.IncrementalOp
		value, want string
	}{{kadm.AppendConfig, "compact", "delete,compact"}, {kadm.SubtractConfig, "delete", "compact"}} {
		got, err := adm.AlterBrokerConfigs(ctx, []kadm.AlterConfig{{Op: s.op, Name: name, Value: &s.value}})
		if err == nil {
			err = got[0].Err
		}
		if err != nil {
			t.Fatal(err)
		}
		all, err := adm.DescribeBrokerConfigs(ctx)
		if err != nil || len(all) != 1 || len(all[0].Configs) != 1 || all[0].Configs[0].Key != name || *all[0].Configs[0].Value != s.want {
			t.Errorf("want %s: %+v %v", s.want, all, err)
		}
	}
}

// Without room for fetch sessions there are none, not as many as by default.
func TestNoFetchSessions(t *testing.T) {
	t.Parallel()
	p := brokertest.Start(t, "--set", "max.incremental.fetch.session.cache.slots=0")
	createTopic(t, p, "t", 1)
	awaitLed(t, p, "t", 1)
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	req := kmsg.NewPtrFetchRequest()
	rt, rp := kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
	rt.Topic, rp.PartitionMaxBytes = "t", 1000
	rt.Partitions = append(rt.Partitions, rp)
	req.SessionEpoch, req.Topics = 0, append(req.Topics, rt)
	resp, err := byName(t, p).SeedBrokers()[0].Request(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	if r := resp.(*kmsg.FetchResponse); r.ErrorCode != 0 || r.SessionID != 0 || len(r.Topics) != 1 {
		t.Errorf("%+v", r)
	}
}
