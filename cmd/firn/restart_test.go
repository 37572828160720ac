package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/brokertest"
	"firn/metadata/kvtest"
)

// A thousand partitions, after a clean stop and after a kill: each is led again and has its records, committed offsets
// are what they were, and no producer gets an id that another has had.
func TestThousandPartitionsRestart(t *testing.T) {
	t.Parallel()
	const topics, each = 10, 100
	p := brokertest.Start(t)
	names := make([]string, topics)
	var recs []*kgo.Record
	for i := range names {
		names[i] = "many-" + strconv.Itoa(i)
		createTopic(t, p, names[i], each)
		for part := range int32(each) {
			recs = append(recs, &kgo.Record{Topic: names[i], Partition: part, Value: payload(i, uint64(part), 100)})
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*testTimeout)
	defer cancel()
	send := func() {
		t.Helper()
		cl := kafkaClient(t, p, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(100*time.Millisecond))
		for _, r := range recs {
			r.Offset = 0
		}
		if err := cl.ProduceSync(ctx, recs...).FirstErr(); err != nil {
			t.Fatal(err)
		}
		cl.Close()
	}
	send()
	var offs kadm.Offsets
	for i, name := range names {
		for part := range int32(each) {
			offs.AddOffset(name, part, int64(i)*1000+int64(part), -1)
		}
	}
	adm := kadm.NewClient(kafkaClient(t, p))
	if err := adm.CommitAllOffsets(ctx, "keeps", offs); err != nil {
		t.Fatal(err)
	}
	ids := map[int64]bool{newProducerID(ctx, t, p): true}
	rounds := int64(1)
	for _, end := range []struct {
		name string
		do   func()
	}{{"stop", p.Stop}, {"kill", p.Kill}} {
		end.do()
		began := time.Now()
		p.Restart()
		t.Logf("ready %v after the %s", time.Since(began), end.name)
		p.Eventually("all partitions are led and whole", func() (bool, error) {
			tiers, err := p.Tiers("")
			if len(tiers) != topics*each {
				return false, errors.Join(err, fmt.Errorf("%d partitions", len(tiers)))
			}
			for _, tr := range tiers {
				if tr.Leader < 0 || tr.End != rounds || tr.HighWatermark != rounds || tr.Error != "" {
					return false, fmt.Errorf("%+v, want %d records", tr, rounds)
				}
			}
			return true, nil
		})
		countAll(ctx, t, p, names, topics*each*int(rounds))
		got, err := adm.FetchOffsets(ctx, "keeps")
		if err != nil {
			t.Fatal(err)
		}
		for i, name := range names {
			for part := range int32(each) {
				if o, ok := got.Lookup(name, part); !ok || o.At != int64(i)*1000+int64(part) {
					t.Fatalf("after %s: offset of %s-%d is %+v", end.name, name, part, o)
				}
			}
		}
		id := newProducerID(ctx, t, p)
		if ids[id] {
			t.Errorf("after %s: producer id %d was given out before", end.name, id)
		}
		ids[id] = true
		send()
		rounds++
	}
}

func newProducerID(ctx context.Context, t *testing.T, p *brokertest.Process) int64 {
	t.Helper()
	cl := kafkaClient(t, p)
	var id int64
	p.Eventually("a producer id is had", func() (bool, error) {
		resp, err := kmsg.NewPtrInitProducerIDRequest().RequestWith(ctx, cl)
		if err == nil {
			err = kerr.ErrorForCode(resp.ErrorCode)
		}
		if err != nil {
			return false, err
		}
		id = resp.ProducerID
		return true, nil
	})
	return id
}

// countAll reads topics from their beginning until it has so many records.
func countAll(ctx context.Context, t *testing.T, p *brokertest.Process, topics []string, want int) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(p.Bootstrap), kgo.ConsumeTopics(topics...), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for n := 0; n < want; {
		fs := cl.PollFetches(ctx)
		if err := fs.Err(); err != nil {
			t.Fatalf("after %d of %d records: %v", n, want, err)
		}
		fs.EachRecord(func(r *kgo.Record) {
			if _, part, err := readPayload(r.Value); err != nil || part != uint64(r.Partition) {
				t.Errorf("%s-%d offset %d: record of partition %d, %v", r.Topic, r.Partition, r.Offset, part, err)
			}
			n++
		})
	}
}

// However many requests are parked, a broker told to stop answers them and ends within seconds; without its etcd, too,
// and then it comes back with all it had.
func TestStopsSoon(t *testing.T) {
	t.Parallel()
	t.Run("parked requests", func(t *testing.T) {
		t.Parallel()
		p := brokertest.Start(t)
		stopSoon(t, p, func() {})
		p.Restart()
	})
	t.Run("etcd away", func(t *testing.T) {
		t.Parallel()
		e := kvtest.StartEtcd(t)
		p := brokertest.StartBroker(t, e.Endpoint(), brokertest.Options{Args: []string{"--set", "broker.session.timeout.ms=2000"}})
		back := sync.OnceFunc(func() { e.Signal(syscall.SIGCONT) })
		t.Cleanup(back)
		stopSoon(t, p, func() {
			e.Signal(syscall.SIGSTOP)
			p.Eventually("the broker knows that its lease has lapsed", func() (bool, error) { return !ready(p), nil })
		})
		back()
		p.Restart()
		if n, err := readAll(t, p, "parked", 0, 100, testTimeout); err != nil {
			t.Errorf("after the restart: %d records, %v", n, err)
		}
	})
}

// stopLimit is what stopping may take, on a busy machine.
const stopLimit = 8 * time.Second // of which a broker without etcd gives it two

func stopSoon(t *testing.T, p *brokertest.Process, before func()) {
	t.Helper()
	createTopic(t, p, "parked", 1)
	fill(t, p, "parked", 1, 0, 100)
	ctx, cancel := context.WithTimeout(context.Background(), 2*testTimeout)
	defer cancel()
	var parked sync.WaitGroup
	for range 20 {
		cl := byName(t, p)
		parked.Go(func() {
			_, _ = rawFetch(ctx, cl, "parked", 0, 100, time.Minute) // answered or cut off, but not left
		})
		parked.Go(func() { _ = parkJoin(ctx, cl) })
	}
	p.Eventually("fetches are parked", func() (bool, error) {
		n, err := p.Metric("firn_partition_fetch_waits_total")
		return n >= 20, errors.Join(err, fmt.Errorf("%v", n))
	})
	before()
	began := time.Now()
	p.Stop()
	took := time.Since(began)
	parked.Wait()
	t.Logf("stopped in %v", took)
	if took > stopLimit {
		t.Errorf("stopping took more than %v", stopLimit)
	}
}

// parkJoin joins a group that waits for more members.
func parkJoin(ctx context.Context, cl *kgo.Client) error {
	req := kmsg.NewPtrJoinGroupRequest()
	req.Group, req.SessionTimeoutMillis, req.RebalanceTimeoutMillis, req.ProtocolType = "parked", 60_000, 60_000, "consumer"
	proto := kmsg.NewJoinGroupRequestProtocol()
	proto.Name = "range"
	req.Protocols = append(req.Protocols, proto)
	for range 2 { // the first gives a member id
		resp, err := cl.SeedBrokers()[0].Request(ctx, req)
		if err != nil {
			return err
		}
		joined := resp.(*kmsg.JoinGroupResponse)
		if joined.ErrorCode != kerr.MemberIDRequired.Code {
			return kerr.ErrorForCode(joined.ErrorCode)
		}
		req.MemberID = joined.MemberID
	}
	return nil
}

// Members of a group that is at rest keep their partitions over a stop and over a kill of the broker, and no commit
// goes back.
func TestMembersOutliveARestart(t *testing.T) {
	t.Parallel()
	p := brokertest.Start(t)
	r := newPacedRig(t, p, 2*time.Millisecond)
	g := joinGroup(t, p)
	c := newCommits(t, p)
	c.restarts.Store(true)
	c.await("a commit succeeds", func() bool { return c.stored.Load() > 3 })
	for _, end := range []struct {
		name string
		do   func()
	}{{"stop", p.Stop}, {"kill", p.Kill}} {
		stored := c.stored.Load()
		end.do()
		began := time.Now()
		p.Restart()
		c.await("commits succeed again", func() bool { return c.stored.Load() > stored+3 })
		t.Logf("commits again %v after the %s", time.Since(began), end.name)
		polled := g.records.Load()
		p.Eventually("members go on reading, for several heartbeats", func() (bool, error) {
			return g.records.Load() > polled+2000, nil
		})
		g.check()
	}
	c.stop()
	r.finish()
}
