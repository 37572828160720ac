package main

import (
	"strings"
	"time"

	"github.com/spf13/cobra"

	"firn/bench"
)

func newBenchAll(a *app) *cobra.Command {
	s := bench.Suite{Parts: bench.BrokerParts}
	produce, fetch, replay := byteSize(1<<30), byteSize(1<<30), byteSize(1<<30)
	c := &suiteCommand{app: a, suite: &s}
	cmd := &cobra.Command{
		Use:   "all",
		Short: "Measure all of one broker, on brokers of its own",
		Long: `Start brokers, and a MinIO for the tier, in a directory of their own, measure all that is aimed at and
print each figure beside what the machine can do without a broker, with PASS or MISS. It takes some
minutes. The parts are ` + strings.Join(bench.Names(bench.BrokerParts), ", ") + `.`,
		Example: `  firn bench all
  firn bench all --only produce,latency --rounds 5
  firn bench all --replay-bytes 4GiB --json > figures.json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s.ProduceBytes, s.FetchBytes, s.ReplayBytes = int64(produce), int64(fetch), int64(replay)
			return c.run(cmd.Context())
		},
	}
	c.addTo(cmd)
	f := cmd.Flags()
	f.StringVar(&s.MinIO, "minio", a.tool("minio"), "MinIO's `PROGRAM`, without which the tier is left out")
	f.Var(&produce, "produce-bytes", "a round of produce")
	f.Var(&fetch, "fetch-bytes", "a round of fetch")
	f.Var(&replay, "replay-bytes", "a round of replay")
	f.DurationVar(&s.Latency, "latency", 8*time.Second, "how long a round of latency counts")
	f.IntVar(&s.Partitions, "partitions", 1000, "partitions of the broker that is restarted")
	return cmd
}
