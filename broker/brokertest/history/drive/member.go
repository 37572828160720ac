package drive

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/brokertest/history"
)

const (
	commitWait   = 10 * time.Second // after which a member gives a commit up and reads on
	observeEvery = 100 * time.Millisecond
)

// offsetCommit is the key of the request.
const offsetCommit = 8

// attempts counts a client's tries to commit: those that it makes by itself after a first one without an answer may
// leave one behind on the wire.
type attempts struct{ atomic.Int64 }

// OnBrokerE2E implements kgo.HookBrokerE2E.
func (a *attempts) OnBrokerE2E(_ kgo.BrokerMetadata, key int16, _ kgo.BrokerE2E) {
	if key == offsetCommit {
		a.Add(1)
	}
}

// member reads what the group gives it and commits it, poll by poll. While it does, its partitions stay its own.
func (d *Driver) member(ctx context.Context, l *lifetime) error {
	alive, crash := context.WithCancel(d.abandon)
	defer crash()
	tries := &attempts{}
	var joined atomic.Int64 // the operation that the client's next positions complete, -1 for none
	rejoin := func() int {
		return d.rec.Invoke(history.Op{Process: l.process, Func: history.Rebalance, Group: d.o.Group})
	}
	joined.Store(-1)
	cl, err := d.client(alive, kgo.ConsumerGroup(d.o.Group), kgo.ConsumeTopics(d.o.Topic), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
		kgo.SessionTimeout(d.o.Session), kgo.HeartbeatInterval(d.o.Session/10), kgo.RebalanceTimeout(2*d.o.Session),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(pollWait), kgo.WithHooks(tries),
		kgo.OnPartitionsAssigned(func(context.Context, *kgo.Client, map[string][]int32) { // and then the client asks for what is committed
			joined.Store(int64(rejoin()))
		}),
		kgo.AdjustFetchOffsetsFn(func(_ context.Context, at map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
			n := int(joined.Swap(-1))
			if n < 0 {
				n = rejoin() // positions that it asked for again by itself
			}
			d.rec.Complete(n, history.Op{Outcome: history.OK, Positions: begin(at[d.o.Topic])})
			return at, nil
		}))
	if err != nil {
		return err
	}
	for l.ends.Err() == nil {
		next, n, _ := d.poll(l.ends, cl, l.process, "")
		if n > 0 {
			d.polled.Add(int64(n))
			d.commit(cl, l.process, next, tries)
		}
		cl.AllowRebalance()
	}
	if l.crashes(ctx) {
		crash() // it does not say that it leaves
	}
	cl.Close()
	return nil
}

// begin lets a member read from 0 where nothing is committed, and says where it begins.
func begin(at map[int32]kgo.Offset) (list []history.Position) {
	list = []history.Position{} // which may be none
	for p, o := range at {
		offset := o.EpochOffset().Offset
		if offset < 0 {
			offset, at[p] = history.Unknown, kgo.NewOffset().At(0)
		}
		list = append(list, history.Position{Key: history.Key(p), Offset: offset})
	}
	return list
}

func (d *Driver) commit(cl *kgo.Client, process int32, next map[int32]int64, tries *attempts) {
	op := history.Op{Process: process, Func: history.Commit, Group: d.o.Group}
	what := map[int32]kgo.EpochOffset{}
	for p, o := range next {
		what[p] = kgo.EpochOffset{Epoch: -1, Offset: o}
		op.Positions = append(op.Positions, history.Position{Key: history.Key(p), Offset: o})
	}
	before := tries.Load()
	n := d.rec.Invoke(op)
	ctx, cancel := context.WithTimeout(d.abandon, commitWait)
	defer cancel()
	var end error
	cl.CommitOffsetsSync(ctx, map[string]map[int32]kgo.EpochOffset{d.o.Topic: what},
		func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
			end = committed(resp, err)
		})
	retried := again(tries.Load()-before, end)
	done := outcome(end, retried)
	done.Lingers = retried
	d.rec.Complete(n, done)
}

// again says whether a request that was sent so often, and ended so, was tried before its last attempt: that has not
// always been sent.
func again(sent int64, end error) bool {
	var answer *kerr.Error
	return sent > 1 || sent == 1 && end != nil && !errors.As(end, &answer)
}

var errMixed = errors.New("some partitions committed and others not")

// committed is the one result of a commit of several partitions.
func committed(resp *kmsg.OffsetCommitResponse, err error) error {
	if err != nil || resp == nil {
		return err
	}
	codes := map[int16]bool{}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			codes[p.ErrorCode] = true
			err = kerr.ErrorForCode(p.ErrorCode)
		}
	}
	if len(codes) != 1 {
		return errMixed // whose outcome is unknown
	}
	return err
}

// observe looks at what the group has committed.
func (d *Driver) observe(_ context.Context, l *lifetime) error {
	cl, err := d.client(l.ends)
	if err != nil {
		return err
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	tick := time.NewTicker(observeEvery)
	defer tick.Stop()
	for {
		select {
		case <-l.ends.Done():
			return nil
		case <-tick.C:
		}
		op := d.rec.Invoke(history.Op{Process: l.process, Func: history.Committed, Group: d.o.Group})
		ctx, cancel := context.WithTimeout(l.ends, commitWait)
		got, err := adm.FetchOffsetsForTopics(ctx, d.o.Group, d.o.Topic)
		cancel()
		d.rec.Complete(op, look(got, err))
	}
}

func look(got kadm.OffsetResponses, err error) history.Op {
	if err == nil {
		err = got.Error()
	}
	done := outcome(err, true)
	if err == nil {
		done.Positions = []history.Position{}
		got.Each(func(o kadm.OffsetResponse) {
			done.Positions = append(done.Positions, history.Position{Key: history.Key(o.Partition), Offset: o.At})
		})
	}
	return done
}
