package bench

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// failoverRate is how many records a second all partitions get together: enough that each has one under way or soon
	// will when its leader dies, little enough that the machine is not busy with them.
	failoverRate = 4000
	// besidePartitions is how many partitions a client with its defaults writes to beside the one that is judged.
	besidePartitions = 12
	// soonRefresh is how often the client that is judged asks who leads.
	soonRefresh = 50 * time.Millisecond
	// deadLeader is the broker that leads all partitions, until it is killed.
	deadLeader = 1
)

// failoverCase is one size of a failover.
type failoverCase struct {
	partitions int
	ttl        time.Duration
	limit      float64 // s from the end of the lease
}

// failover kills the leader of all partitions and measures until each takes records again.
func (s *Suite) failover(ctx context.Context) error {
	for _, c := range []failoverCase{
		{s.Cluster.Failover, 2 * time.Second, limitFailover},
		{s.Cluster.Failover, 6 * time.Second, limitFailover},
		{s.Cluster.LargeFailover, 6 * time.Second, limitLargeFailover},
	} {
		ttl := fmt.Sprintf("broker.session.timeout.ms=%d", c.ttl.Milliseconds())
		err := s.onTrio(ctx, "failover", func(t *trio) error {
			sec, err := s.failovers(ctx, t, c)
			if err != nil {
				return err
			}
			return s.Done(sec)
		}, ttl)
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Suite) failovers(ctx context.Context, t *trio, c failoverCase) (*Section, error) {
	gap := time.Second * time.Duration(c.partitions) / failoverRate
	sec := &Section{
		Name: fmt.Sprintf("leader of %d partitions killed, lease of %v", c.partitions, c.ttl),
		Setting: fmt.Sprintf("flush: %s; RF 3, acks=all, idempotent, a record of %d B per partition every %v; the judged client asks for metadata every %v",
			Relaxed, recordBytes, gap, soonRefresh),
	}
	const topic, other = "killed", "killed-beside"
	if err := t.createPlaced(ctx, topic, ledBy(deadLeader, c.partitions), Relaxed, nil); err != nil {
		return nil, err
	}
	if err := t.createPlaced(ctx, other, ledBy(deadLeader, besidePartitions), Relaxed, nil); err != nil {
		return nil, err
	}
	values, err := s.values(JSON)
	if err != nil {
		return nil, err
	}
	judged := &Steady{
		Cluster: t.cluster, Topic: topic, Partitions: c.partitions, Gap: gap, Values: values,
		Options: []kgo.Opt{kgo.MetadataMaxAge(soonRefresh), kgo.MetadataMinAge(soonRefresh), kgo.RetryBackoffFn(func(int) time.Duration { return soonRefresh })},
	}
	beside := &Steady{Cluster: t.cluster, Topic: other, Partitions: besidePartitions, Gap: 100 * time.Millisecond, Values: values}
	for round := range s.Rounds {
		if err := s.killLeader(ctx, t, sec, judged, beside); err != nil {
			return nil, fmt.Errorf("round %d: %w", round+1, err)
		}
		for _, l := range []*Steady{judged, beside} {
			if err := t.rebalance(ctx, l.Topic, l.Partitions); err != nil {
				return nil, err
			}
		}
	}
	sec.check("last write resumes after the lease's end", "s", sec.figure("   last ack", "").Rounds, c.limit, true)
	return sec, nil
}

// killLeader is one round: it ends with the killed broker back and in sync.
func (s *Suite) killLeader(ctx context.Context, t *trio, sec *Section, judged, beside *Steady) error {
	load, err := judged.start(ctx)
	if err != nil {
		return err
	}
	defer func() { _, _ = load.stop() }()
	plain, err := beside.start(ctx)
	if err != nil {
		return err
	}
	defer func() { _, _ = plain.stop() }()
	others, err := s.startBeside(ctx, t, beside)
	defer func() {
		for _, f := range others {
			f.kill()
		}
	}()
	if err != nil {
		return err
	}
	w, err := t.watchTakeover(ctx, deadLeader)
	if err != nil {
		return err
	}
	defer w.close()
	victim := t.brokers[deadLeader-1]
	w.begin()
	victim.kill()
	// What was acked in its last moments may arrive now; after this nothing is acked before others lead.
	if err := sleep(ctx, time.Second); err != nil {
		return err
	}
	load.mark()
	plain.mark()
	acks, err := load.firsts(ctx, partitionList(judged.Partitions))
	if err != nil {
		return err
	}
	besides, err := plain.firsts(ctx, partitionList(beside.Partitions))
	if err != nil {
		return err
	}
	gone, err := w.addTo(sec)
	if err != nil {
		return err
	}
	after := func(name string, at time.Time) { sec.figure(name, "s").add(at.Sub(gone).Seconds()) }
	after("5. first ack", acks[0])
	after("   median ack", acks[len(acks)/2])
	after("   last ack", acks[len(acks)-1])
	after("franz-go with its defaults, last ack", besides[len(besides)-1])
	for _, f := range others {
		at, err := f.last()
		if err != nil {
			return err
		}
		after(f.name+" with its defaults, last ack", at)
	}
	if err := t.bringBack(ctx, victim, judged, beside); err != nil {
		return err
	}
	return errors.Join(load.err(), plain.err())
}

// startBeside starts the clients of other languages.
func (s *Suite) startBeside(ctx context.Context, t *trio, beside *Steady) (others []*foreign, err error) {
	for _, name := range slices.Sorted(maps.Keys(s.Beside)) {
		f, err := startForeign(ctx, name, s.Beside[name], &paceCommand{
			Op: "pace", Topic: beside.Topic, N: beside.Partitions, Millis: beside.Gap.Milliseconds(), Time: s.Cluster.Foreign.Milliseconds(),
		}, t.cluster)
		if err != nil {
			return others, err
		}
		others = append(others, f)
	}
	if len(others) == 0 {
		return nil, nil
	}
	return others, sleep(ctx, foreignStart)
}

func partitionList(n int) []int32 {
	var list []int32
	for p := range int32(n) {
		list = append(list, p)
	}
	return list
}

// sleep waits unless ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// bringBack starts a killed broker again, and waits until all of the loads' topics are in sync.
func (t *trio) bringBack(ctx context.Context, victim *node, loads ...*Steady) error {
	if err := victim.again(ctx); err != nil {
		return err
	}
	for _, l := range loads {
		if err := t.awaitInSync(ctx, l.Topic, l.Partitions, trioSize); err != nil {
			return err
		}
	}
	return nil
}
