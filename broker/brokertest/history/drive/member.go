package drive

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"firn/broker/brokertest/history"
)

const (
	commitWait   = 10 * time.Second // after which a member gives a commit up and reads on
	observeEvery = 100 * time.Millisecond
)

// member reads what the group gives it and commits it, poll by poll. While it does, its partitions stay its own.
func (d *Driver) member(ctx context.Context, l *lifetime) error {
	alive, crash := context.WithCancel(d.abandon)
	defer crash()
	m, err := d.o.Library.Member(alive, func() func(map[int32]int64) {
		n := d.rec.Invoke(history.Op{Process: l.process, Func: history.Rebalance, Group: d.o.Group})
		return func(at map[int32]int64) { d.rec.Complete(n, history.Op{Outcome: history.OK, Positions: positions(at)}) }
	})
	if err != nil {
		return err
	}
	lost := false // its place
	for l.ends.Err() == nil && !lost {
		next, rs, _ := d.poll(l.ends, m, l.process, "")
		if len(rs) > 0 {
			d.polled.Add(int64(len(rs)))
			d.advance(theGroup, next)
			lost = d.commit(m, l.process, next)
		}
		m.Release()
	}
	if lost || l.crashes(ctx) {
		crash() // it does not say that it leaves
	}
	m.Close()
	return nil
}

// positions is offsets by partition as a history has them; it is never nil.
func positions(at map[int32]int64) []history.Position {
	list := make([]history.Position, 0, len(at))
	for p, o := range at {
		list = append(list, history.Position{Key: history.Key(p), Offset: o})
	}
	return list
}

// commit reports whether the member must not go on.
func (d *Driver) commit(m Member, process int32, next map[int32]int64) (ends bool) {
	n := d.rec.Invoke(history.Op{Process: process, Func: history.Commit, Group: d.o.Group, Positions: positions(next)})
	ctx, cancel := context.WithTimeout(d.abandon, commitWait)
	defer cancel()
	retried, err := m.Commit(ctx, next)
	done := outcome(d.o.Library.Name(err), retried)
	done.Lingers = retried
	d.rec.Complete(n, done)
	return history.Judge(done.Err).Ends
}

// observe looks at what the group has committed.
func (d *Driver) observe(_ context.Context, l *lifetime) error {
	cl, err := franz{o: &d.o}.client(l.ends)
	if err != nil {
		return err
	}
	defer cl.Close()
	tick := time.NewTicker(observeEvery)
	defer tick.Stop()
	for {
		select {
		case <-l.ends.Done():
			return nil
		case <-tick.C:
		}
		_ = d.look(l.ends, cl, l.process)
	}
}

// lookAgain looks at what the group has committed until it is told.
func (d *Driver) lookAgain(ctx context.Context, process int32) error {
	cl, err := franz{o: &d.o}.client(ctx)
	if err != nil {
		return err
	}
	defer cl.Close()
	for err = d.look(ctx, cl, process); err != nil; err = d.look(ctx, cl, process) {
		if pause(ctx); ctx.Err() != nil {
			return fmt.Errorf("ask what group %s has committed: %w", d.o.Group, err)
		}
	}
	return nil
}

// look looks once.
func (d *Driver) look(ctx context.Context, cl *kgo.Client, process int32) error {
	op := d.rec.Invoke(history.Op{Process: process, Func: history.Committed, Group: d.o.Group})
	ctx, cancel := context.WithTimeout(ctx, commitWait)
	defer cancel()
	got, err := kadm.NewClient(cl).FetchOffsetsForTopics(ctx, d.o.Group, d.o.Topic)
	d.rec.Complete(op, looked(got, err))
	return errors.Join(err, got.Error())
}

func looked(got kadm.OffsetResponses, err error) history.Op {
	if err == nil {
		err = got.Error()
	}
	done := outcome(franz{}.Name(err), true)
	if err == nil {
		done.Positions = []history.Position{}
		got.Each(func(o kadm.OffsetResponse) {
			done.Positions = append(done.Positions, history.Position{Key: history.Key(o.Partition), Offset: o.At})
		})
	}
	return done
}
