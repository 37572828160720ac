package drive

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"firn/broker/brokertest/history"
)

const (
	maxPoll  = 500                    // records
	pollWait = 500 * time.Millisecond // so that a consumer notices its end

	errorPause = 50 * time.Millisecond // after what came to nothing but an error
)

// poll is one operation: what the client gives within a while. It returns the offsets after what was read, the
// records and the error that the client told of, which may be one that it gets over.
func (d *Driver) poll(ctx context.Context, c Consumer, process int32, via string) (next map[int32]int64, rs []Record, err error) {
	op := d.rec.Invoke(history.Op{Process: process, Func: history.Poll, Via: via})
	wait, cancel := context.WithTimeout(ctx, pollWait)
	rs, err = c.Poll(wait, maxPoll)
	cancel()
	end := history.Op{Outcome: history.OK, Err: d.o.Library.Name(err), Reads: make([]history.Record, 0, len(rs))}
	next = map[int32]int64{}
	for _, r := range rs {
		end.Reads = append(end.Reads, history.Record{Key: history.Key(r.Partition), Offset: r.Offset, Value: r.number()})
		next[r.Partition] = r.Offset + 1
	}
	d.rec.Complete(op, end)
	for p, o := range next {
		d.known(history.Key(p), o-1)
	}
	if err != nil && len(next) == 0 { // which comes at once, as often as one asks
		pause(ctx)
	}
	return next, rs, err
}

// pause is between two tries.
func pause(ctx context.Context) {
	over := time.NewTimer(errorPause)
	defer over.Stop()
	select {
	case <-over.C:
	case <-ctx.Done():
	}
}

// assigned makes a consumer of all partitions, from positions on.
func (d *Driver) assigned(ctx context.Context, process int32, from []int64) (Consumer, error) {
	op := history.Op{Process: process, Func: history.Assign}
	for p, o := range from {
		op.Positions = append(op.Positions, history.Position{Key: history.Key(p), Offset: o})
	}
	n := d.rec.Invoke(op)
	c, err := d.o.Library.Consumer(ctx, from)
	d.rec.Complete(n, outcome(d.o.Library.Name(err), false))
	return c, err
}

// read reads all partitions, each from somewhere below what is known to be there: its end, its beginning or in between.
func (d *Driver) read(_ context.Context, l *lifetime) error {
	from := d.ends()
	for p, end := range from {
		switch l.rng.IntN(3) {
		case 0:
			from[p] = 0
		case 1:
			from[p] = l.rng.Int64N(end + 1)
		}
	}
	c, err := d.assigned(l.ends, l.process, from)
	if err != nil {
		return err
	}
	defer c.Close()
	d.reads(l.process, from)
	defer d.ceases(l.process)
	for l.ends.Err() == nil {
		next, _, err := d.poll(l.ends, c, l.process, "")
		d.advance(l.process, next)
		if d.o.Library.Name(err) == kerr.OffsetOutOfRange.Message {
			return nil // it is given no more of that partition
		}
	}
	return nil
}

func (d *Driver) ends() []int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]int64{}, d.mu.next...)
}

// ReadAll reads every partition from offset 0 until it has seen its end and every offset that was acknowledged or read
// before, searches what it has read for times, and looks at what the group has committed. It returns the number of records. Via
// says in the history what they were read from. If something of that cannot be had it tries until ctx ends, but nothing of it
// may be out of range, and no search may find anything else.
func (d *Driver) ReadAll(ctx context.Context, via string) (int, error) {
	process := d.process.Add(1)
	c, err := d.assigned(ctx, process, make([]int64, d.o.Partitions))
	if err != nil {
		return 0, err
	}
	defer c.Close()
	want, err := d.committedEnds(ctx, d.ends())
	if err != nil {
		return 0, err
	}
	at, read := make([]int64, d.o.Partitions), make([][]stamp, d.o.Partitions)
	total := 0
	for !reached(at, want) {
		next, rs, err := d.poll(ctx, c, process, via)
		for p, o := range next {
			at[p] = o
		}
		for i := range rs {
			read[rs[i].Partition] = append(read[rs[i].Partition], stamp{rs[i].Offset, rs[i].Time})
		}
		total += len(rs)
		if ctx.Err() != nil || d.o.Library.Name(err) == kerr.OffsetOutOfRange.Message {
			return total, fmt.Errorf("read %s: at %v of %v: %w", d.o.Topic, at, want, errors.Join(err, ctx.Err()))
		}
	}
	if err := d.searchAll(ctx, process, read); err != nil {
		return total, err
	}
	if d.o.Members > 0 {
		return total, d.lookAgain(ctx, process)
	}
	return total, nil
}

// committedEnds is the offset after the highest of each partition that consumers can read, acknowledged or not, and at least
// what it is given.
func (d *Driver) committedEnds(ctx context.Context, want []int64) ([]int64, error) {
	cl, err := franz{o: &d.o}.client(ctx)
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	for listed := false; !listed; {
		got, err := kadm.NewClient(cl).ListCommittedOffsets(ctx, d.o.Topic)
		if ctx.Err() != nil {
			return nil, fmt.Errorf("ask for the ends of %s: %w", d.o.Topic, errors.Join(err, ctx.Err()))
		}
		listed = err == nil && got.Error() == nil && len(got[d.o.Topic]) == len(want)
		got.Each(func(o kadm.ListedOffset) {
			if o.Err == nil && listed {
				want[o.Partition] = max(want[o.Partition], o.Offset)
			}
		})
		if !listed { // which a client that has not heard of a leader says at once
			pause(ctx)
		}
	}
	return want, nil
}

func reached(at, want []int64) bool {
	for p := range at {
		if at[p] < want[p] {
			return false
		}
	}
	return true
}
