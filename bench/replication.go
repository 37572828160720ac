package bench

import (
	"context"
	"fmt"
)

// replication measures what three replicas cost: the same records go to topics with one replica and with three, all led by
// the same broker, and to a probe.
func (s *Suite) replication(ctx context.Context) error {
	values, err := s.values(Random)
	if err != nil {
		return err
	}
	return s.onTrio(ctx, "replication", func(t *trio) error {
		sec, err := s.replicas(ctx, t, values)
		if err != nil {
			return err
		}
		return s.Done(sec)
	})
}

func (s *Suite) replicas(ctx context.Context, t *trio, values *Values) (*Section, error) {
	n := s.ProduceBytes / 2
	sec := &Section{
		Name: "replication factor 3 beside 1",
		Setting: fmt.Sprintf("flush: %s; %d B %s records in batches of %d KiB, %d partitions led by one broker, acks=all, %d MiB a round",
			Durable, values.Size, values.Kind, DefaultBatch>>10, producePartitions, n/mib),
	}
	leader := t.brokers[0]
	alone := make([][]int32, producePartitions)
	for p := range alone {
		alone[p] = []int32{1}
	}
	for round := range s.Rounds {
		for what, replicas := range map[string][][]int32{"rf1": alone, "rf3": ledBy(1, producePartitions)} {
			if err := t.createPlaced(ctx, topicName(what, round), replicas, Durable, untiered); err != nil {
				return nil, err
			}
		}
	}
	load := func(cl Cluster, topic string) (Moved, error) {
		return (&Produce{Cluster: cl, Topic: topic, Values: values, Bytes: n}).Run(ctx)
	}
	single := side{"RF 1", leader.pid(), func(_ context.Context, round int) (Moved, error) { return load(t.cluster, topicName("rf1", round)) }}
	triple := side{"RF 3, leader", leader.pid(), func(ctx context.Context, round int) (Moved, error) {
		return withFollowers(t, sec, func() (Moved, error) { return load(t.cluster, topicName("rf3", round)) })
	}}
	err := s.Probes.with(ctx, probeSink, &sink{Dir: s.Dir, Partitions: producePartitions}, func(probe *probeProcess) error {
		return takeTurns(ctx, sec, s.Rounds, s.Dir, single, triple, side{"probe", probe.pid(), probe.serves(func(_ context.Context, round int) (Moved, error) {
			return load(Cluster{probe.Addr}, topicName("sink", round))
		})})
	})
	if err != nil {
		return nil, err
	}
	fetch := side{"fetch", leader.pid(), func(ctx context.Context, round int) (Moved, error) {
		topic := topicName("rf1", round)
		from, err := t.cluster.offsets(ctx, topic, earliestOffset)
		if err != nil {
			return Moved{}, err
		}
		to, err := t.cluster.offsets(ctx, topic, latestOffset)
		if err != nil {
			return Moved{}, err
		}
		return (&Consume{Cluster: t.cluster, Topic: topic, From: from, To: to}).runTimes(ctx, fetchPasses)
	}}
	if err := takeTurns(ctx, sec, s.Rounds, s.Dir, fetch); err != nil {
		return nil, err
	}
	sum := sec.figure("produce and two fetches CPU", "s/GiB")
	for i, produced := range sec.figure("RF 1 CPU", "").Rounds {
		sum.add(produced + 2*sec.figure("fetch CPU", "").Rounds[i])
	}
	sec.compare("CPU, follower / probe", "follower CPU", "probe CPU", limitFollowerCPU, true)
	sec.compare("CPU, leader / produce and two fetches", "RF 3, leader CPU", sum.Name, limitLeaderCPU, true)
	return sec, nil
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
