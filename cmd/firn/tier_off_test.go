package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"firn/broker/brokertest"
)

// A topic that is not archived any more keeps what was archived until retention removes it, from the bucket too, and
// then expires on the disk alone; archived anew, it goes on where its log begins.
func TestTierTurnedOffAndOn(t *testing.T) {
	t.Parallel()
	p := brokertest.Start(t, "--set", "log.retention.check.interval.ms=100", "--set", "tier.retention.check.interval.ms=100",
		"--set", "tier.delete.grace.ms=1", "--set", "tier.cache.bytes=0")
	createTopic(t, p, "flip", 1, "segment.bytes", "1048576", "local.retention.ms", "1", "tier.min.bytes", "1", "tier.max.lag.ms", "100")
	ctx, cancel := context.WithTimeout(context.Background(), 3*testTimeout)
	defer cancel()
	f := &flip{t: t, ctx: ctx, p: p, cl: kafkaClient(t, p, kgo.ProducerLinger(0))}

	f.produce(30)
	on := f.eventually("it is archived", func(tr brokertest.Tier) bool { return tr.TieredEnd >= 30 && tr.LocalStart > 10 })
	if len(f.objects()) == 0 {
		t.Fatal("no segments in the bucket")
	}

	f.alter("remote.storage.enable", "false")
	f.produce(30)
	off := f.eventually("it has no lag any more", func(tr brokertest.Tier) bool { return tr.End == 60 && tr.LagBytes == 0 })
	if off.TieredEnd != on.TieredEnd {
		t.Errorf("the tier ended at %d, now %d", on.TieredEnd, off.TieredEnd)
	}
	f.readAll(0)

	f.alter("retention.bytes", "1500000")
	f.eventually("it expires in the tier and behind it", func(tr brokertest.Tier) bool { return tr.LogStart > on.TieredEnd && tr.LocalStart == tr.LogStart })
	p.Eventually("the bucket holds none of it", func() (bool, error) {
		left := f.objects()
		return len(left) == 0, fmt.Errorf("%v", left)
	})
	f.alter("retention.bytes", "-1")
	f.readAll(-1)

	f.alter("remote.storage.enable", "true")
	f.produce(30)
	f.eventually("it is archived again", func(tr brokertest.Tier) bool { return tr.TieredEnd >= 90 && tr.LocalStart > 60 })
	f.readAll(-1)
}

type flip struct {
	t   *testing.T
	ctx context.Context //nolint:containedctx // of the test
	p   *brokertest.Process
	cl  *kgo.Client
	n   int
}

// flipValue is the value of the record at an offset.
func flipValue(offset int64) []byte {
	b := make([]byte, 100_000)
	rng := rand.New(rand.NewPCG(uint64(offset), 1))
	for i := 0; i+8 <= len(b); i += 8 {
		binary.BigEndian.PutUint64(b[i:], rng.Uint64())
	}
	return b
}

func (f *flip) produce(n int) {
	f.t.Helper()
	for range n {
		rec := &kgo.Record{Topic: "flip", Value: flipValue(int64(f.n))}
		if err := f.cl.ProduceSync(f.ctx, rec).FirstErr(); err != nil {
			f.t.Fatal(err)
		}
		f.n++
	}
}

func (f *flip) alter(name, value string) {
	f.t.Helper()
	resp, err := kadm.NewClient(f.cl).AlterTopicConfigs(f.ctx, []kadm.AlterConfig{{Name: name, Value: &value}}, "flip")
	if err == nil {
		_, err = resp.On("flip", nil)
		err = errors.Join(err, resp[0].Err)
	}
	if err != nil {
		f.t.Fatalf("%s=%s: %v", name, value, err)
	}
}

func (f *flip) eventually(what string, ok func(brokertest.Tier) bool) (last brokertest.Tier) {
	f.t.Helper()
	f.p.Eventually(what, func() (bool, error) {
		tiers, err := f.p.Tiers("flip")
		if err != nil || len(tiers) != 1 {
			return false, err
		}
		last = tiers[0]
		return ok(last), fmt.Errorf("%+v", last)
	})
	return last
}

// objects are the segments in the bucket.
func (f *flip) objects() []string {
	f.t.Helper()
	var all []string
	err := filepath.WalkDir(filepath.Join(f.p.Dir, "tier"), func(path string, _ fs.DirEntry, err error) error {
		if filepath.Ext(path) == ".seg" {
			all = append(all, path)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it is being deleted
		}
		return err
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return all
}

// readAll reads the partition from its start, which is first unless that is negative, to its end.
func (f *flip) readAll(first int64) {
	f.t.Helper()
	cl := kafkaClient(f.t, f.p, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"flip": {0: kgo.NewOffset().AtStart()}}))
	next := first
	for next < int64(f.n) {
		fetches := cl.PollFetches(f.ctx)
		if err := fetches.Err(); err != nil {
			f.t.Fatalf("read at %d: %v", next, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if next < 0 {
				next = r.Offset
			}
			if r.Offset != next || !bytes.Equal(r.Value, flipValue(r.Offset)) {
				f.t.Fatalf("read offset %d, want %d, or its value is another", r.Offset, next)
			}
			next++
		})
	}
}
