package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"firn/bench"
)

func newBenchAll(a *app) *cobra.Command {
	s := bench.Suite{}
	produce, fetch, replay := byteSize(1<<30), byteSize(1<<30), byteSize(1<<30)
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "all",
		Short: "Measure everything, on brokers of its own",
		Long: `Start brokers, and a MinIO for the tier, in a directory of their own, measure all that is aimed at and
print each figure beside what the machine can do without a broker, with PASS or MISS. It takes some
minutes. The parts are ` + strings.Join(bench.Parts(), ", ") + `.`,
		Example: `  firn bench all
  firn bench all --only produce,latency --rounds 5
  firn bench all --replay-bytes 4GiB --json > figures.json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if s.Probes, err = probesOf(a); err != nil {
				return err
			}
			s.Firn = s.Probes.Command[0]
			s.ProduceBytes, s.FetchBytes, s.ReplayBytes = int64(produce), int64(fetch), int64(replay)
			s.Done = func(sec *bench.Section) error {
				if asJSON {
					return nil
				}
				return sec.Text(a.out)
			}
			r, err := s.Run(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(a.out, r)
			}
			fmt.Fprintln(a.out, r.Machine)
			fmt.Fprintf(a.out, "%d checks missed\n", r.Missed())
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&s.Dir, "dir", os.TempDir(), "`DIR` for all data, on the disk that is to be measured; what is made in it is deleted")
	f.StringVar(&s.MinIO, "minio", a.tool("minio"), "MinIO's `PROGRAM`, without which the tier is left out")
	f.StringVar(&s.Etcd, "etcd", a.tool("etcd"), "etcd's `PROGRAM`, for the memory of firn broker")
	f.IntVar(&s.Rounds, "rounds", 3, "how often broker and probe take turns")
	f.StringSliceVar(&s.Only, "only", nil, "only these `PARTS`, with commas between")
	f.Var(&produce, "produce-bytes", "a round of produce")
	f.Var(&fetch, "fetch-bytes", "a round of fetch")
	f.Var(&replay, "replay-bytes", "a round of replay")
	f.DurationVar(&s.Latency, "latency", 8*time.Second, "how long a round of latency counts")
	f.IntVar(&s.Partitions, "partitions", 1000, "partitions of the broker that is restarted")
	f.BoolVar(&asJSON, "json", false, "print JSON, at the end")
	return cmd
}

// tool finds a program that deploy/tools/install.sh has built, "" if there is none.
func (a *app) tool(name string) string {
	dir := a.env("FIRN_TOOLS", filepath.Join(a.env("HOME", ""), ".cache", "firn", "tools"))
	found, _ := filepath.Glob(filepath.Join(dir, name+"-*", name)) // fails only on a bad pattern
	if len(found) == 0 {
		return ""
	}
	return found[len(found)-1]
}
