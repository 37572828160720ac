package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"firn/broker/brokertest"
)

// 64 readers of one partition while it is written, rolled, archived, dropped from the disk and cut at its beginning by
// DeleteRecords: every record that any of them gets has the right bytes for its offset, and an offset is out of range
// only below the log start.
func TestReadersWhileSegmentsComeAndGo(t *testing.T) {
	t.Parallel()
	seed := uint64(envInt(t, "FIRN_SEED", int(time.Now().UnixNano()&0x7fffffff)))
	t.Logf("seed %d (FIRN_SEED)", seed)
	p := brokertest.Start(t, "--set", "log.retention.check.interval.ms=50", "--set", "tier.cache.bytes=4MiB",
		"--set", "tier.retention.check.interval.ms=200", "--set", "tier.delete.grace.ms=1000")
	createTopic(t, p, "busy", 1, "segment.bytes", "1048576", "local.retention.ms", "1", "tier.min.bytes", "1", "tier.max.lag.ms", "200", "flush.messages", "1000000")
	awaitLed(t, p, "busy", 1)
	w := &watched{t: t, p: p}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(func() { cancel(); running.Wait() })
	writer := byName(t, p)
	running.Go(func() { w.write(ctx, writer) })
	p.Eventually("there is something to read", func() (bool, error) { return w.failed.Load() || w.end.Load() > 500, nil })
	for i := range 64 {
		cl := byName(t, p)
		running.Go(func() { w.read(ctx, cl, rand.New(rand.NewPCG(seed, uint64(i)))) })
	}
	adm := kadm.NewClient(kafkaClient(t, p))
	for round := range int64(6) {
		mark, reads := w.end.Load(), w.reads.Load()
		p.Eventually("more is written and read", func() (bool, error) {
			tiers, err := p.Tiers("busy")
			moved := len(tiers) == 1 && tiers[0].LocalStart > mark
			return w.failed.Load() || moved && w.reads.Load() > reads+300, errors.Join(err, fmt.Errorf("%d reads, %+v", w.reads.Load()-reads, tiers))
		})
		if w.failed.Load() {
			break
		}
		var offs kadm.Offsets
		offs.AddOffset("busy", 0, mark/2+round, -1)
		w.intended.Store(mark/2 + round)
		got, err := adm.DeleteRecords(ctx, offs)
		if err != nil || got.Error() != nil {
			t.Fatalf("delete records: %v, %v", err, got.Error())
		}
		w.start.Store(mark/2 + round)
	}
	cancel()
	running.Wait()
	tiers, err := p.Tiers("busy")
	t.Logf("%d reads, %d of them out of range below the log start, of %d records; %+v, %v", w.reads.Load(), w.below.Load(), w.end.Load(), tiers, err)
}

type watched struct {
	t        *testing.T
	p        *brokertest.Process
	end      atomic.Int64 // all below is acknowledged
	intended atomic.Int64 // the log start is no higher
	start    atomic.Int64 // the log start is no lower
	reads    atomic.Int64
	below    atomic.Int64
	failed   atomic.Bool
}

// write sends batches of one record, whose payload says its offset, in its order.
func (w *watched) write(ctx context.Context, cl *kgo.Client) {
	for n := int64(0); ctx.Err() == nil; {
		err := produceRaw(ctx, cl, "busy", batchWith(payload(0, uint64(n), 2000+int(n%700)), nil))
		if err != nil {
			if ctx.Err() == nil {
				w.fail("write %d: %v", n, err)
			}
			return
		}
		n++
		w.end.Store(n)
	}
}

func (w *watched) fail(format string, args ...any) {
	w.failed.Store(true)
	w.t.Errorf(format, args...)
}

// read reads runs from random offsets.
func (w *watched) read(ctx context.Context, cl *kgo.Client, rng *rand.Rand) {
	for ctx.Err() == nil && !w.failed.Load() {
		low, end := w.start.Load(), w.end.Load()
		offset := low + rng.Int64N(end-low)
		for range 1 + rng.IntN(4) {
			n, err := w.check(ctx, cl, offset)
			if ctx.Err() != nil {
				return
			}
			if errors.Is(err, kerr.OffsetOutOfRange) && offset < w.intended.Load() {
				w.below.Add(1)
				break
			}
			if err != nil {
				w.fail("read at %d (asked below %d, log start meant to be %d): %v", offset, end, w.intended.Load(), err)
				return
			}
			w.reads.Add(1)
			offset += n
		}
	}
}

// check reads once from an offset on and returns how many records of the right bytes came.
func (w *watched) check(ctx context.Context, cl *kgo.Client, offset int64) (int64, error) {
	p, err := rawFetch(ctx, cl, "busy", 0, offset, 200*time.Millisecond)
	if err != nil {
		return 0, err
	}
	list, err := values(p.RecordBatches)
	if err != nil {
		return 0, err
	}
	for i, v := range list {
		if _, n, err := readPayload(v); err != nil || n != uint64(offset)+uint64(i) {
			return 0, fmt.Errorf("record %d at offset %d: %w", n, offset+int64(i), err)
		}
	}
	return int64(len(list)), nil
}
