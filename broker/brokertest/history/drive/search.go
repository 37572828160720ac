package drive

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// searches is how many times are looked for in each partition that was read.
	searches = 4
	// greatest asks for the record with the greatest time, the first of those.
	greatest = -3
)

// stamp is where a record lies, and the time that it has.
type stamp struct{ offset, time int64 }

// searchAll looks for times in all partitions, in each as far as it was read.
func (d *Driver) searchAll(ctx context.Context, process int32, read [][]stamp) error {
	cl, err := franz{o: &d.o}.client(ctx)
	if err != nil {
		return err
	}
	defer cl.Close()
	rng := rand.New(rand.NewPCG(d.o.Seed, 1<<32+uint64(process)))
	for p, stamps := range read {
		if err := d.search(ctx, cl, rng, int32(p), stamps); err != nil {
			return err
		}
	}
	return nil
}

// search looks for times in a partition that has been read from its beginning on, all of which stays: each answer has to be the
// first record that has one, or is behind all that was read.
func (d *Driver) search(ctx context.Context, cl *kgo.Client, rng *rand.Rand, partition int32, read []stamp) error {
	if len(read) == 0 {
		return nil
	}
	for i := range searches {
		at := read[rng.IntN(len(read))].time + rng.Int64N(3) - 1
		if i == 0 {
			at = greatest
		}
		if err := d.searchFor(ctx, cl, partition, at, read); err != nil {
			return fmt.Errorf("search %s-%d for time %d: %w", d.o.Topic, partition, at, err)
		}
	}
	return nil
}

// searchFor looks for one time. That there is none a leader of the past may say, too, of what it does not have, but not for long.
func (d *Driver) searchFor(ctx context.Context, cl *kgo.Client, partition int32, at int64, read []stamp) error {
	want := firstAt(read, at)
	var wrong error
	for {
		got, err := d.listOffset(ctx, cl, partition, at)
		if err == nil && right(got, want, at, read) {
			return nil
		}
		if err == nil {
			wrong = fmt.Errorf("offset %d of time %d, but the first is offset %d of time %d", got.offset, got.time, want.offset, want.time)
			if got.offset >= 0 {
				return wrong
			}
		}
		if pause(ctx); ctx.Err() != nil {
			return errors.Join(wrong, err, ctx.Err())
		}
	}
}

// firstAt is the answer among what was read, offset -1 if there is none.
func firstAt(read []stamp, at int64) stamp {
	if at == greatest {
		for _, s := range read {
			at = max(at, s.time)
		}
	}
	for _, s := range read {
		if s.time >= at {
			return s
		}
	}
	return stamp{-1, -1}
}

// right reports whether an answer is the one that is wanted or, as more may have been added, one behind all that was read.
func right(got, want stamp, at int64, read []stamp) bool {
	behind := got.offset > read[len(read)-1].offset
	switch {
	case at == greatest:
		return got == want || behind && got.time > want.time
	case want.offset < 0:
		return got == want || behind && got.time >= at
	default:
		return got == want
	}
}

// listOffset asks once.
func (d *Driver) listOffset(ctx context.Context, cl *kgo.Client, partition int32, at int64) (stamp, error) {
	req := kmsg.NewPtrListOffsetsRequest()
	rt, rp := kmsg.NewListOffsetsRequestTopic(), kmsg.NewListOffsetsRequestTopicPartition()
	rt.Topic, rp.Partition, rp.Timestamp = d.o.Topic, partition, at
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return stamp{}, err
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return stamp{}, fmt.Errorf("offsets of one partition: %d topics", len(resp.Topics))
	}
	got := resp.Topics[0].Partitions[0]
	return stamp{got.Offset, got.Timestamp}, kerr.ErrorForCode(got.ErrorCode)
}
