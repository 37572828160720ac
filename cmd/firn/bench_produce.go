package main

import (
	"github.com/spf13/cobra"

	"firn/bench"
)

func newBenchProduce(a *app) *cobra.Command {
	var o benchOptions
	cmd := &cobra.Command{
		Use:   "produce",
		Short: "Measure how fast a broker takes records",
		Long: `Produce to a fresh topic each round. With --durability relaxed the broker stands beside a probe that
receives the same bytes, checks their CRC-32C and writes them to fresh files; otherwise beside raw
appends of 1 MiB, each made durable.`,
		Example: `  firn bench produce --pid "$(pgrep -f 'firn dev')"
  firn bench produce --durability durable --bytes 4GiB --compression lz4`,
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
			s, err := (&bench.CompareProduce{
				Server: o.server(), Probes: probes, Dir: o.dir, Level: o.level, Partitions: o.partitions, Rounds: o.rounds,
				Bytes: int64(o.bytes), Sending: o.sending(), Values: values,
			}).Run(cmd.Context())
			if err != nil {
				return err
			}
			return o.print(a, s)
		},
	}
	o.addTo(a, cmd, 1<<30)
	o.addSending(cmd, bench.Relaxed)
	cmd.Flags().Var(&o.bytes, "bytes", "how much a round moves")
	return cmd
}
