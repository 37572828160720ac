package main

import (
	"github.com/spf13/cobra"

	"firn/bench"
)

func newBenchReplay(a *app) *cobra.Command {
	var o benchOptions
	var topic, tier string
	var partition int32
	var parallel int
	var fetch byteSize = bench.DefaultFetch
	cmd := &cobra.Command{
		Use:   "replay",
		Short: "Measure how fast history comes back from the bucket",
		Long: `Fill a tiered topic, wait until its local copies are gone and read it from its start, each round. With
--tier the same objects are also read by a relay probe, which gets the same ranges, checks their CRC-32C,
decodes them and writes them to a socket, and by a probe that only gets them. Their credentials come from
MINIO_ACCESS_KEY and MINIO_SECRET_KEY, or from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.`,
		Example: `  firn bench replay --bytes 2GiB --tier 'minio://127.0.0.1:9000/firn?tls=false'
  firn bench replay --topic logs --partition 3 --probe=false`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			values, err := o.values()
			if err != nil {
				return err
			}
			probes, err := o.probes(a)
			if err != nil {
				return err
			}
			c := &bench.CompareReplay{
				Server: o.server(), Probes: probes, Dir: o.dir, Topic: topic, Partition: partition, Rounds: o.rounds,
				Bytes: int64(o.bytes), Values: values, FetchBytes: int(fetch), Parallel: parallel,
			}
			if tier != "" {
				b, err := bench.ParseBucket(tier)
				if err != nil {
					return &usageError{err}
				}
				c.Bucket = &b
			}
			s, err := c.Run(cmd.Context())
			if err != nil {
				return err
			}
			return o.print(a, s)
		},
	}
	o.addTo(a, cmd, 1<<30)
	f := cmd.Flags()
	f.Var(&o.bytes, "bytes", "how much is produced, and read a round, at least")
	f.StringVar(&topic, "topic", "", "read the tiered topic `NAME` that is there already")
	f.Int32Var(&partition, "partition", 0, "partition of that topic")
	f.StringVar(&tier, "tier", "", "the broker's tier, minio://… or s3://…?endpoint=…, for the probes")
	f.IntVar(&parallel, "parallel", 0, "GETs that probes have under way (default 8)")
	f.Var(&fetch, "fetch", "how much is asked for at once")
	return cmd
}
