package bench

import (
	"context"
	"fmt"
	"time"
)

// ClusterSizes say how large the clusters of the suite are.
type ClusterSizes struct {
	Idle          int           // partitions of brokers that do nothing
	Failover      int           // partitions whose leader is killed
	LargeFailover int           // and as many as that once more
	Rolling       int           // partitions while brokers stop
	EtcdAway      time.Duration // how long
	Foreign       time.Duration // how long programs of other languages send while a leader is killed
	TierSegments  int           // archived segments of the broker that is replaced
}

// DefaultClusterSizes are what the targets are stated for. 100 GiB in segments of 128 MiB are 800.
var DefaultClusterSizes = ClusterSizes{Idle: 4000, Failover: 1000, LargeFailover: 3000, Rolling: 100, EtcdAway: time.Minute, Foreign: 25 * time.Second, TierSegments: 800}

// The limits aimed at.
const (
	limitIdleCPU       = 3   // percent of a core
	limitIdleRSS       = 300 // MB
	limitFailover      = 1   // s
	limitLargeFailover = 2
	limitPause         = 200 // ms
	limitRecommit      = 5   // s
	limitFollowerCPU   = 1.5 // of a probe that receives, checks and writes
	limitLeaderCPU     = 1   // of produce and two fetches
	limitCopied        = 1.1 // of what is not archived
)

// ClusterParts measure three brokers, in the order they run.
var ClusterParts = []Part{
	{"idle-cluster", one((*Suite).idleCluster)},
	{"replication", (*Suite).replication},
	{"failover", (*Suite).failover},
	{"rolling", one((*Suite).rolling)},
	{"etcd-away", one((*Suite).etcdAway)},
	{"replaced", one((*Suite).replaced)},
}

const (
	// idleSettle is how long after the last replica is in sync brokers are left alone, and idleWatch how long they are
	// watched then.
	idleSettle = 20 * time.Second
	idleWatch  = 40 * time.Second
)

// idleCluster measures three brokers that each have a replica of every partition, to which nothing is written.
func (s *Suite) idleCluster(ctx context.Context) (*Section, error) {
	n := s.Cluster.Idle
	sec := &Section{
		Name: fmt.Sprintf("three brokers with %d idle partitions each", n),
		Setting: fmt.Sprintf("flush: %s; RF 3, so that each broker leads a third; over %v, %v after all are in sync",
			Durable, idleWatch, idleSettle),
	}
	var cpu, rss []float64
	err := s.onTrio(ctx, "idle-cluster", func(t *trio) error {
		if err := t.createPlaced(ctx, "idle", ledByAll(n), Durable, nil); err != nil {
			return err
		}
		if err := sleep(ctx, idleSettle); err != nil {
			return err
		}
		before := make([]Usage, len(t.brokers))
		for i, b := range t.brokers {
			var err error
			if before[i], err = ReadUsage(b.pid()); err != nil {
				return err
			}
		}
		began := time.Now()
		if err := sleep(ctx, idleWatch); err != nil {
			return err
		}
		for i, b := range t.brokers {
			u, err := ReadUsage(b.pid())
			if err != nil {
				return err
			}
			cpu = append(cpu, 100*(u.CPU-before[i].CPU).Seconds()/time.Since(began).Seconds())
			rss = append(rss, float64(u.RSS)/1e6)
			sec.figure("peak RSS of each", "MB").add(float64(u.PeakRSS) / 1e6)
		}
		return t.unmoved(ctx, sec, "idle")
	})
	sec.check("CPU of each", "% of a core", cpu, limitIdleCPU, true)
	sec.check("RSS of each", "MB", rss, limitIdleRSS, true)
	return sec, err
}

// rolling stops a broker in good order, and then restarts all, one after the other, under load.
func (s *Suite) rolling(ctx context.Context) (*Section, error) {
	const gap = 100 * time.Millisecond
	n := s.Cluster.Rolling
	sec := &Section{
		Name: fmt.Sprintf("brokers stop and start again, %d partitions", n),
		Setting: fmt.Sprintf("flush: %s; RF 3, acks=all, idempotent, a record of %d B per partition every %v; franz-go with its defaults, which uses CurrentLeader",
			Durable, recordBytes, gap),
	}
	values, err := s.values(JSON)
	if err != nil {
		return nil, err
	}
	return sec, s.onTrio(ctx, "rolling", func(t *trio) error {
		const topic = "rolling"
		if err := t.createPlaced(ctx, topic, ledByAll(n), Durable, nil); err != nil {
			return err
		}
		load, err := (&Steady{Cluster: t.cluster, Topic: topic, Partitions: n, Gap: gap, Values: values}).start(ctx)
		if err != nil {
			return err
		}
		defer func() { _, _ = load.stop() }()
		reader, err := t.cluster.startTail(ctx, topic, n)
		if err != nil {
			return err
		}
		defer func() { _, _ = reader.stop() }()
		for range s.Rounds {
			for _, b := range t.brokers {
				if err := s.roll(ctx, t, sec, load, topic, b); err != nil {
					return err
				}
			}
		}
		acked, err := load.stop()
		read, readErr := reader.stop()
		failures := 0.0
		for _, err := range []error{err, readErr} {
			if err != nil {
				failures++
				sec.note("a client failed: %v", err)
			}
		}
		sec.note("%d records acked, %d read", acked, read)
		sec.check("clients that failed", "", []float64{failures}, 0, true)
		sec.check("pause of a partition when its leader stops, p99", "ms", sec.figure("stop, pause p99", "").Rounds, limitPause, true)
		sec.check("pause of a partition when a broker is back and leads again, p99", "ms", sec.figure("back, pause p99", "").Rounds, limitPause, true)
		return nil
	})
}

// roll stops a broker, starts it again, and has it lead what it led before.
func (s *Suite) roll(ctx context.Context, t *trio, sec *Section, load *steady, topic string, b *node) error {
	quiet := func(what string) error { // what a pause is measured against
		load.mark()
		if err := sleep(ctx, 2*time.Second); err != nil {
			return err
		}
		sec.figure(what+", pause p99", "ms").add(load.pauses().At(99))
		load.mark()
		return nil
	}
	if err := quiet("nothing happens"); err != nil {
		return err
	}
	if err := b.stop(); err != nil {
		return err
	}
	if err := sleep(ctx, time.Second); err != nil {
		return err
	}
	for _, p := range percentiles {
		if p.at == 50 || p.at == 99 || p.at == 100 {
			sec.figure("stop, pause "+p.name, "ms").add(load.pauses().At(p.at))
		}
	}
	if err := b.again(ctx); err != nil {
		return err
	}
	if err := t.awaitInSync(ctx, topic, load.Partitions, trioSize); err != nil {
		return err
	}
	if err := quiet("broker back, leads nothing"); err != nil {
		return err
	}
	if err := t.rebalance(ctx, topic, load.Partitions); err != nil {
		return err
	}
	if err := sleep(ctx, time.Second); err != nil {
		return err
	}
	sec.figure("back, pause p99", "ms").add(load.pauses().At(99))
	return nil
}
