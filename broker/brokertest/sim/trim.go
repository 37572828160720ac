package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// keeps is how many records are not deleted: more than are written until they have settled.
const keeps = 120

// trim writes numbers to a partition, each of which must get the offset that it is, and deletes records from its beginning.
// What was deleted must stay so, and nothing else may go.
func (s *sim) trim() {
	const name = trimmed
	if !s.until(func(ctx context.Context) error { return s.topic(ctx, name) }) {
		return
	}
	cl, err := s.client(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.AlwaysRetryEOF(), kgo.UnknownTopicRetries(-1), kgo.StopProducerOnDataLossDetected())
	if err != nil {
		s.violation("%v", err)
		return
	}
	defer cl.Close()
	next, start := int64(0), int64(0) // the next number, and below which all is deleted
	asked := start                    // what a request whose outcome is not known may have deleted
	var there kept
	s.side.Go(func() { s.probe(&there) })
	for s.quiet.Err() == nil {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		r := &kgo.Record{Topic: name, Value: fmt.Appendf(nil, "%0200d", next)}
		err := cl.ProduceSync(ctx, r).FirstErr()
		cancel()
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			s.violation("%s: record %d is not acknowledged: %v", name, next, err)
			return
		case err != nil:
			s.violation("%s: record %d: %v", name, next, err)
			return
		case r.Offset != next:
			s.violation("%s: record %d has offset %d", name, next, r.Offset)
		}
		next++
		there.to.Store(next)
		if to := next - keeps; next%7 == 0 && to > start {
			asked = max(asked, to)
			there.from.Store(asked)
			ctx, cancel := context.WithTimeout(s.quiet, 5*time.Second)
			var offsets kadm.Offsets = map[string]map[int32]kadm.Offset{}
			offsets.Add(kadm.Offset{Topic: name, At: to})
			resp, err := s.adm.DeleteRecords(ctx, offsets)
			cancel()
			if err == nil {
				err = resp.Error()
			}
			if err == nil {
				start = max(start, to)
			}
		}
		_ = sleep(s.quiet, 50*time.Millisecond)
	}
	s.checkTrimmed(name, start, asked, next)
}

// checkTrimmed reads what is left of a partition, once every broker knows how things stand: one that was a leader and has not heard
// since says what it knows.
func (s *sim) checkTrimmed(name string, start, asked, next int64) {
	if err := s.eventually("every broker serves", s.allServe); err != nil {
		s.violation("%v", err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cl, err := s.client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{name: {0: kgo.NewOffset().AtStart()}}), kgo.FetchMaxWait(500*time.Millisecond))
	if err != nil {
		s.violation("%v", err)
		return
	}
	defer cl.Close()
	for at := int64(-1); at < next; {
		fs := cl.PollRecords(ctx, 500)
		if ctx.Err() != nil {
			s.violation("%s: at %d of [%d, %d) after %v", name, at, start, next, patience)
			return
		}
		fs.EachRecord(func(r *kgo.Record) {
			if at < 0 {
				if at = r.Offset; at < start || at > asked {
					s.violation("%s begins at %d, though it was deleted up to %d, and nobody asked for more than %d", name, at, start, asked)
				}
			}
			var n int64
			if _, err := fmt.Sscanf(string(r.Value), "%d", &n); err != nil || n != r.Offset || at != r.Offset {
				s.violation("%s@%d is %s after %d", name, r.Offset, r.Value, at)
			}
			at = r.Offset + 1
		})
	}
}

// kept is what is surely there: it was acknowledged, and nobody has asked to delete it.
type kept struct{ from, to atomic.Int64 }

// settled is after how long each broker that takes itself for one to read from has what was acknowledged.
const settled = 5 * time.Second

// probe asks brokers, whichever they are and whatever they know, for offsets that are there, mostly for the first ones. They may
// not answer, or send it elsewhere; none may say that one is out of range, from which a client concludes that it is gone.
func (s *sim) probe(k *kept) {
	type moment struct {
		at time.Time
		to int64
	}
	rng := rand.New(rand.NewPCG(s.seed, 98))
	var moments []moment
	asked, answered := 0, 0
	for to := int64(0); s.quiet.Err() == nil; _ = sleep(s.quiet, 20*time.Millisecond) {
		moments = append(moments, moment{time.Now(), k.to.Load()})
		for time.Since(moments[0].at) > settled {
			to, moments = moments[0].to, moments[1:]
		}
		from := k.from.Load()
		if from >= to {
			continue
		}
		m := s.machines[rng.IntN(len(s.machines))]
		at := from + min(rng.Int64N(to-from), rng.Int64N(to-from))
		err := s.fetchOne(m, trimmed, at)
		if errors.Is(err, kerr.OffsetOutOfRange) && at >= k.from.Load() {
			s.violation("%s@%d of [%d, %d) is out of range for broker %d", trimmed, at, from, to, m.id)
		}
		if asked++; err == nil {
			answered++
		}
	}
	s.log("%s: brokers were asked for what is there %d times and answered %d times", trimmed, asked, answered)
}

// fetchOne fetches from an offset of a topic's first partition at one broker, as a client near it does.
func (s *sim) fetchOne(m *machine, name string, at int64) error {
	t, ok := s.store.Image().Topic(name)
	if !ok {
		return kerr.UnknownTopicOrPartition
	}
	ctx, cancel := context.WithTimeout(s.quiet, time.Second)
	defer cancel()
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis, req.MaxBytes, req.Rack = 100, 1<<20, m.rack()
	rt, rp := kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
	rt.Topic, rt.TopicID = name, t.ID
	rp.FetchOffset, rp.PartitionMaxBytes = at, 1<<10
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	resp, err := req.RequestWith(ctx, s.cl.Broker(int(m.id)))
	switch {
	case err != nil:
		return err
	case resp.ErrorCode != 0:
		return kerr.ErrorForCode(resp.ErrorCode)
	case len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1:
		return errors.New("an answer without the partition")
	}
	return kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode)
}
