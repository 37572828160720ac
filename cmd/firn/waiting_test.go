package main

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A consumer whose broker refuses for a while, as one whose bucket is away, says so and goes on.
func TestConsumeSaysWhatItWaitsFor(t *testing.T) {
	c, addr := fakeCluster(t, kfake.SeedTopics(1, "t"))
	seed(t, addr, "t", 1, 3, time.Now())
	var refuse atomic.Bool
	refuse.Store(true)
	c.ControlKey(int16(kmsg.Fetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if !refuse.Load() {
			return nil, nil, false
		}
		r := req.(*kmsg.FetchRequest)
		resp := r.ResponseKind().(*kmsg.FetchResponse)
		for _, t := range r.Topics {
			rt := kmsg.NewFetchResponseTopic()
			rt.Topic, rt.TopicID = t.Topic, t.TopicID
			for _, p := range t.Partitions {
				rp := kmsg.NewFetchResponseTopicPartition()
				rp.Partition, rp.ErrorCode = p.Partition, kerr.KafkaStorageError.Code
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp, nil, true
	})
	out, errOut := newSyncBuffer(), newSyncBuffer()
	a := testApp(addr, nil, out, errOut)
	var clock atomic.Int64
	a.now = func() time.Time { return time.Unix(clock.Add(1), 0) } // each look at the clock is a second
	background(t, a, "consume", "t")
	errOut.waitFor(t, "firn: fetch t-0: ")
	errOut.waitFor(t, "(KAFKA_STORAGE_ERROR); trying again\n")
	refuse.Store(false)
	out.waitFor(t, "0\n1\n2\n")
}

// A topic is created once the brokers know it: whatever comes next may ask any of them.
func TestTopicCreateWaitsForBrokersThatHaveNotHeard(t *testing.T) {
	c, addr := fakeCluster(t, kfake.NumBrokers(3))
	var unheard atomic.Int64 // answers that still say no
	unheard.Store(5)
	c.ControlKey(int16(kmsg.Metadata), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		r := req.(*kmsg.MetadataRequest)
		if len(r.Topics) == 0 || unheard.Load() <= 0 {
			return nil, nil, false
		}
		unheard.Add(-1)
		resp := r.ResponseKind().(*kmsg.MetadataResponse)
		for _, t := range r.Topics {
			rt := kmsg.NewMetadataResponseTopic()
			rt.Topic, rt.TopicID, rt.ErrorCode = t.Topic, t.TopicID, kerr.UnknownTopicOrPartition.Code
			resp.Topics = append(resp.Topics, rt)
		}
		return resp, nil, true
	})
	firn(t, addr, "", "topic", "create", "t").ok(t)
	if n := unheard.Load(); n != 0 {
		t.Errorf("it ended while %d brokers would have said that they do not know the topic", n)
	}
}

// A broker that takes connections and never answers, as a frozen one, keeps nobody from those that are named beside it.
func TestBootstrapBesideABrokerThatHangs(t *testing.T) {
	hangs, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = hangs.Close() })
	_, addr := fakeCluster(t, kfake.SeedTopics(1, "t"))
	seed(t, addr, "t", 1, 3, time.Now())
	for _, servers := range []string{hangs.Addr().String() + "," + addr, addr + "," + hangs.Addr().String()} {
		r := firn(t, servers, "", "consume", "t", "-e")
		if out := r.ok(t); out != "0\n1\n2\n" || r.err != "" {
			t.Errorf("%s: got %q, and %q", servers, out, r.err)
		}
	}
}

// That a broker cannot be reached is told now and then, but not before one has answered.
func TestWaitingIsToldNowAndThen(t *testing.T) {
	errOut := newSyncBuffer()
	a := testApp("", nil, nil, errOut)
	var clock atomic.Int64
	a.now = func() time.Time { return time.Unix(clock.Load(), 0) }
	w := &waiting{app: a}
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: net.ErrClosed}
	meta := kgo.BrokerMetadata{Host: "h", Port: 1}
	w.OnBrokerConnect(meta, 0, nil, refused)
	if errOut.String() != "" {
		t.Errorf("told before a cluster answered: %q", errOut)
	}
	w.begin()
	w.OnBrokerConnect(meta, 0, nil, nil)
	w.OnBrokerConnect(meta, 0, nil, fmt.Errorf("dial: %w", context.Canceled)) // another one was faster
	w.OnBrokerConnect(meta, 0, nil, kgo.ErrClientClosed)
	w.OnBrokerConnect(meta, 0, nil, refused)
	clock.Store(5)
	w.OnBrokerConnect(meta, 0, nil, refused)
	const line = "firn: connect to h:1: dial tcp: use of closed network connection; trying again\n"
	if errOut.String() != line {
		t.Errorf("got %q, want one line", errOut)
	}
	clock.Store(20)
	w.OnBrokerConnect(meta, 0, nil, refused)
	if errOut.String() != line+line {
		t.Errorf("got %q, want two lines", errOut)
	}
}
