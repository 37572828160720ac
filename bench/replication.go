package bench

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
)

// replication measures what three replicas cost: the same records go to topics with one replica and with three, all led by
// the same broker, and to a probe, which syncs what it writes where a broker has to. What one replica and a probe cost is measured
// alone, and with two others of their kind that do the same at the same time: that is how a leader and its followers work, who share
// processors, their caches and a disk. All take turns, as what a machine can do changes from minute to minute.
func (s *Suite) replication(ctx context.Context) error {
	values, err := s.values(Random)
	if err != nil {
		return err
	}
	return s.onTrio(ctx, "replication", func(t *trio) error {
		for _, level := range []string{Durable, Relaxed} {
			r := &replication{suite: s, trio: t, level: level, values: values, bytes: s.ProduceBytes / 2}
			if err := r.run(ctx); err != nil {
				return err
			}
			if err := s.Done(r.sec); err != nil {
				return err
			}
		}
		return nil
	})
}

// replication is one measurement.
type replication struct {
	suite  *Suite
	trio   *trio
	level  string
	values *Values
	bytes  int64 // a load
	sec    *Section
}

func (r *replication) run(ctx context.Context) error {
	r.sec = &Section{
		Name: "replication factor 3 beside 1, " + r.level,
		Setting: fmt.Sprintf("flush: %s; %d B %s records in batches of %d KiB, %d partitions led by one broker, acks=all, %d MiB a round",
			r.level, r.values.Size, r.values.Kind, DefaultBatch>>10, producePartitions, r.bytes/mib),
	}
	for round := range r.suite.Rounds + 1 { // and what is read
		for which := range trioSize + 1 {
			alone := make([][]int32, producePartitions)
			for p := range alone {
				alone[p] = []int32{int32(max(which, 1))}
			}
			if err := r.trio.createPlaced(ctx, r.single(which, round), alone, r.level, untiered); err != nil {
				return err
			}
		}
		if round == r.suite.Rounds {
			break
		}
		if err := r.trio.createPlaced(ctx, r.triple(round), ledBy(1, producePartitions), r.level, untiered); err != nil {
			return err
		}
	}
	if err := r.loads(ctx); err != nil {
		return err
	}
	for _, how := range []string{"", besideOthers} {
		sum := r.sec.figure("produce and two fetches"+how+" CPU", "s/GiB")
		for i, produced := range r.sec.figure("RF 1"+how+" CPU", "").Rounds {
			sum.add(produced + 2*r.sec.figure("fetch"+how+" CPU", "").Rounds[i])
		}
	}
	r.sec.compare("CPU, follower / probe beside two others", "follower CPU", "probe"+besideOthers+" CPU", limitFollowerCPU, true)
	r.sec.compare("CPU, leader / produce and two fetches beside two others", "RF 3, leader CPU", "produce and two fetches"+besideOthers+" CPU", limitLeaderCPU, true)
	return nil
}

// besideOthers is what figures are called while two others do the same.
const besideOthers = " beside two others"

// single is the topic of a round that one broker has alone: 1 to 3 for when all do the same, 0 for when the first is alone.
func (r *replication) single(which, round int) string {
	return topicName(fmt.Sprintf("rf1-%s-%d", r.level, which), round)
}

// triple is the topic of a round that all brokers have.
func (r *replication) triple(round int) string { return topicName("rf3-"+r.level, round) }

// loads sends records to a topic with one replica, to one with three, and to probes, and reads some that were sent before.
func (r *replication) loads(ctx context.Context) error {
	load := func(ctx context.Context, cl Cluster, topic string) (Moved, error) {
		return (&Produce{Cluster: cl, Topic: topic, Values: r.values, Bytes: r.bytes}).Run(ctx)
	}
	leader := r.trio.brokers[0].pid()
	rf1 := func(ctx context.Context, which, round int) (Moved, error) {
		return load(ctx, r.trio.cluster, r.single(which, round))
	}
	rf3 := side{"RF 3, leader", leader, func(ctx context.Context, round int) (Moved, error) {
		return withFollowers(r.trio, r.sec, func() (Moved, error) { return load(ctx, r.trio.cluster, r.triple(round)) })
	}}
	for which := range trioSize + 1 {
		if _, err := rf1(ctx, which, r.suite.Rounds); err != nil {
			return err
		}
	}
	return r.withProbes(ctx, nil, func(probes []*probeProcess) error {
		toProbe := func(ctx context.Context, which, round int) (Moved, error) {
			return load(ctx, Cluster{probes[max(which, 1)-1].Addr}, topicName(fmt.Sprintf("sink-%d", which), round))
		}
		sides := append(aloneAndBeside("RF 1", leader, rf1), rf3)
		for _, d := range aloneAndBeside("probe", probes[0].pid(), toProbe) {
			d.run = probes[0].serves(d.run)
			sides = append(sides, d)
		}
		sides = append(sides, aloneAndBeside("fetch", leader, r.fetch)...)
		return takeTurns(ctx, r.sec, r.suite.Rounds, r.suite.Dir, trioSize*r.bytes, sides...)
	})
}

// withProbes runs fn with as many probes as there are brokers.
func (r *replication) withProbes(ctx context.Context, have []*probeProcess, fn func([]*probeProcess) error) error {
	if len(have) == trioSize {
		return fn(have)
	}
	return r.suite.Probes.with(ctx, probeSink, &sink{Dir: r.suite.Dir, Partitions: producePartitions, Sync: r.level == Durable}, func(p *probeProcess) error {
		return r.withProbes(ctx, append(have, p), fn)
	})
}

// fetch reads what was sent before the rounds.
func (r *replication) fetch(ctx context.Context, which, _ int) (Moved, error) {
	cl, topic := r.trio.cluster, r.single(which, r.suite.Rounds)
	from, err := cl.offsets(ctx, topic, earliestOffset)
	if err != nil {
		return Moved{}, err
	}
	to, err := cl.offsets(ctx, topic, latestOffset)
	if err != nil {
		return Moved{}, err
	}
	return (&Consume{Cluster: cl, Topic: topic, From: from, To: to}).runTimes(ctx, fetchPasses)
}

// aloneAndBeside are two sides of what a process does under a load: alone, and with two others under theirs. The load is for the
// first, second or third, or for the first alone, which is 0.
func aloneAndBeside(name string, pid int, load func(ctx context.Context, which, round int) (Moved, error)) []side {
	return []side{
		{name, pid, func(ctx context.Context, round int) (Moved, error) { return load(ctx, 0, round) }},
		{name + besideOthers, pid, func(ctx context.Context, round int) (first Moved, err error) {
			g, ctx := errgroup.WithContext(ctx)
			for which := 1; which <= trioSize; which++ {
				g.Go(func() error {
					m, err := load(ctx, which, round)
					if which == 1 {
						first = m
					}
					return err
				})
			}
			err = g.Wait()
			return first, err
		}},
	}
}

// withFollowers runs a load and adds the processor time of the two brokers that follow.
func withFollowers(t *trio, sec *Section, run func() (Moved, error)) (Moved, error) {
	followers := t.brokers[1:]
	var before []Usage
	for _, b := range followers {
		u, err := ReadUsage(b.pid())
		if err != nil {
			return Moved{}, err
		}
		before = append(before, u)
	}
	m, err := run()
	if err != nil {
		return m, err
	}
	mean := 0.0
	for i, b := range followers {
		u, err := ReadUsage(b.pid())
		if err != nil {
			return m, err
		}
		mean += cpuPerGiB(before[i], u, m.Bytes) / float64(len(followers))
	}
	sec.figure("follower CPU", "s/GiB").add(mean)
	return m, nil
}
