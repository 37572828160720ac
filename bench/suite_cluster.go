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
