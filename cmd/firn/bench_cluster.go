package main

import (
	"strings"

	"github.com/spf13/cobra"

	"firn/bench"
)

func newBenchCluster(a *app) *cobra.Command {
	s := bench.Suite{Parts: bench.ClusterParts, Cluster: bench.DefaultClusterSizes}
	produce := byteSize(1 << 30)
	c := &suiteCommand{app: a, suite: &s}
	cmd := &cobra.Command{
		Use:   "cluster",
		Short: "Measure a cluster of three brokers, on brokers of its own",
		Long: `Start an etcd and three brokers for each part, in a directory of their own, measure what is aimed at of
clusters and print each figure with PASS or MISS. It takes about fifteen minutes. The parts are
` + strings.Join(bench.Names(bench.ClusterParts), ", ") + `.`,
		Example: `  firn bench cluster
  firn bench cluster --only failover --rounds 5
  firn bench cluster --only idle-cluster --idle 1000 --json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if s.Etcd == "" {
				return usagef("there is no etcd program: deploy/tools/install.sh etcd builds one, or --etcd names it")
			}
			s.ProduceBytes = int64(produce)
			return c.run(cmd.Context())
		},
	}
	c.addTo(cmd)
	f := cmd.Flags()
	f.Var(&produce, "produce-bytes", "a round of replication moves half of it")
	f.StringToStringVar(&s.Beside, "beside", nil, "`NAME=COMMAND` of a client in another language to show beside failover; broker/compat/run.sh --failover gives them")
	f.IntVar(&s.Cluster.Idle, "idle", s.Cluster.Idle, "partitions of idle brokers")
	f.IntVar(&s.Cluster.Failover, "failover", s.Cluster.Failover, "partitions whose leader is killed")
	f.IntVar(&s.Cluster.LargeFailover, "large-failover", s.Cluster.LargeFailover, "and as many once more")
	f.IntVar(&s.Cluster.Rolling, "rolling", s.Cluster.Rolling, "partitions while brokers stop or etcd is away")
	f.DurationVar(&s.Cluster.EtcdAway, "etcd-away", s.Cluster.EtcdAway, "how long etcd is away")
	f.IntVar(&s.Cluster.TierSegments, "tier-segments", s.Cluster.TierSegments, "archived segments of the broker that is replaced")
	return cmd
}
