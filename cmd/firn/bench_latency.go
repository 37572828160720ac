package main

import (
	"time"

	"github.com/spf13/cobra"

	"firn/bench"
)

func newBenchLatency(a *app) *cobra.Command {
	var o benchOptions
	var duration time.Duration
	cmd := &cobra.Command{
		Use:   "latency",
		Short: "Measure how long acks and arrivals take at a given rate",
		Long: `Produce on a schedule that does not wait for slow answers, and count each record's latency from when it
was due (so a stall shows at its full length), until its ack and until a consumer has it. The probe gets
the same records at the same rate, appends them to a file, makes that durable and answers.`,
		Example: `  firn bench latency --rate 5MiB --duration 30s
  firn bench latency --durability relaxed --record-size 200 --partitions 1`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.rate <= 0 || duration <= 0 {
				return usagef("--rate and --duration must be more than nothing")
			}
			values, err := o.values()
			if err != nil {
				return err
			}
			probes, err := o.probes(a)
			if err != nil {
				return err
			}
			s, err := (&bench.CompareLatency{
				Server: o.server(), Probes: probes, Dir: o.dir, Level: o.level, Partitions: o.partitions, Rounds: o.rounds,
				Rate: float64(o.rate), Duration: duration, Sending: o.sending(), Values: values,
			}).Run(cmd.Context())
			if err != nil {
				return err
			}
			return o.print(a, s)
		},
	}
	o.addTo(a, cmd, 0)
	o.addSending(cmd, bench.Durable)
	o.rate = 5 << 20
	cmd.Flags().Var(&o.rate, "rate", "bytes of values a second")
	cmd.Flags().DurationVar(&duration, "duration", 10*time.Second, "how long a round counts")
	return cmd
}
