package main

import (
	"github.com/spf13/cobra"

	"firn/bench"
)

func newBenchConsume(a *app) *cobra.Command {
	var o benchOptions
	var topic string
	var fetch byteSize = bench.DefaultFetch
	var passes int
	cmd := &cobra.Command{
		Use:   "consume",
		Short: "Measure how fast a broker gives records back",
		Long: `Fill a topic and read it from its start, each round. The probe sends ranges of files that hold the same
batches. With --topic an existing topic is read and nothing is produced or deleted.`,
		Example: `  firn bench consume --bytes 2GiB
  firn bench consume --topic logs --probe=false`,
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
			s, err := (&bench.CompareFetch{
				Server: o.server(), Probes: probes, Dir: o.dir, Name: "what was just produced", Topic: topic, Partitions: o.partitions,
				Rounds: o.rounds, Bytes: int64(o.bytes), Values: values, FetchBytes: int(fetch), Passes: passes,
			}).Run(cmd.Context())
			if err != nil {
				return err
			}
			return o.print(a, s)
		},
	}
	o.addTo(a, cmd, 1<<30)
	f := cmd.Flags()
	f.Var(&o.bytes, "bytes", "how much is produced and read a round")
	f.StringVar(&topic, "topic", "", "read the topic `NAME` that is there already")
	f.IntVar(&passes, "passes", 1, "how often a round reads it all; processor time is only known to 10 ms")
	f.Var(&fetch, "fetch", "how much is asked for of each partition at once")
	return cmd
}
