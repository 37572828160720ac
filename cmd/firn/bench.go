package main

import (
	"github.com/spf13/cobra"

	"firn/bench"
)

func newBench(a *app) *cobra.Command {
	cmd := group("bench", "Load a broker and compare it with what the machine can do", `Load any Kafka broker and say how fast it was, beside what the machine can do without one: each round
is run against the broker and against a probe, a process that only receives, checks, writes or sends the
same bytes. Ratios are what to look at; the machine may be busy with other things.

Topics are made for the load, as "bench-…", and deleted after it.`)
	cmd.AddCommand(newBenchProduce(a), newBenchConsume(a), newBenchLatency(a), newBenchReplay(a), newBenchAll(a), newBenchCluster(a), newBenchProbe(a))
	return cmd
}

// newBenchProbe is what the bench commands start as processes of their own.
func newBenchProbe(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "probe KIND CONFIG", Short: "Be a probe", Hidden: true,
		Args: argCount(2, 2, "KIND and CONFIG"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return bench.RunProbe(cmd.Context(), args[0], []byte(args[1]), a.in, a.out)
		},
	}
}
