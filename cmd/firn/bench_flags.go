package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"firn/bench"
)

// byteSize is a flag such as 64KiB, 1GiB or 4096.
type byteSize int64

var sizeUnits = []struct {
	suffix string
	bytes  int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}, {"B", 1}, {"", 1}}

func (b *byteSize) Set(s string) error {
	for _, u := range sizeUnits {
		number, ok := strings.CutSuffix(s, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if v := n * float64(u.bytes); err == nil && v >= 0 && v < 1<<62 {
			*b = byteSize(v)
			return nil
		}
		break
	}
	return fmt.Errorf("want a size such as 4096, 256KiB or 1GiB")
}

func (b *byteSize) String() string {
	for _, u := range []int{3, 2, 1, 0} {
		if n := int64(*b); n > 0 && n%sizeUnits[u].bytes == 0 {
			return fmt.Sprint(n/sizeUnits[u].bytes, sizeUnits[u].suffix)
		}
	}
	return fmt.Sprint(int64(*b))
}

// Type is what help calls it.
func (*byteSize) Type() string { return "SIZE" }

// benchOptions are what the loads have in common.
type benchOptions struct {
	client *client
	pid    int
	dir    string
	data   string
	rounds int
	probe  bool
	json   bool

	recordSize, batch, bytes, rate byteSize
	partitions                     int
	content, level                 string
	acks, compression              string
}

// addTo adds the flags of every load.
func (o *benchOptions) addTo(a *app, cmd *cobra.Command, defaultBytes byteSize) {
	o.client = clientFlags(a, cmd)
	o.recordSize, o.batch, o.bytes = 1<<10, bench.DefaultBatch, defaultBytes
	f := cmd.Flags()
	f.IntVar(&o.pid, "pid", 0, "process id of the broker on this machine, to read its processor time and memory")
	f.StringVar(&o.dir, "dir", os.TempDir(), "`DIR` for what probes write; it should be on the broker's disk")
	f.StringVar(&o.data, "data", "", "`DIR` with the broker's logs on this machine, so that the probe sends the same files and not copies")
	f.IntVar(&o.rounds, "rounds", 3, "how often broker and probe take turns")
	f.BoolVar(&o.probe, "probe", true, "measure what the machine can do without a broker, too")
	f.BoolVar(&o.json, "json", false, "print JSON")
	f.Var(&o.recordSize, "record-size", "bytes of each value")
	f.IntVar(&o.partitions, "partitions", 8, "partitions of the topic that is made")
	f.StringVar(&o.content, "content", bench.JSON, "json (compressible log lines) or random (incompressible)")
}

// addSending adds the flags of loads that produce.
func (o *benchOptions) addSending(cmd *cobra.Command, level string) {
	f := cmd.Flags()
	f.Var(&o.batch, "batch", "about how much goes into one batch")
	f.StringVar(&o.level, "durability", level, "durable (an ack means the disk has it), relaxed, or 'as is' (the cluster's default)")
	f.StringVar(&o.acks, "acks", "all", "all, 1 or 0")
	f.StringVar(&o.compression, "compression", "none", "none, gzip, snappy, lz4 or zstd")
}

// valuesSeed makes the values the same in every run.
const valuesSeed = 1

func (o *benchOptions) values() (*bench.Values, error) {
	v, err := bench.NewValues(o.content, int(o.recordSize), valuesSeed)
	if err != nil {
		return nil, &usageError{err}
	}
	return v, nil
}

func (o *benchOptions) server() bench.Server {
	return bench.Server{Cluster: bench.Cluster{Bootstrap: o.client.bootstrap}, Pid: o.pid, Dir: o.data}
}

func (o *benchOptions) sending() bench.Sending {
	return bench.Sending{BatchBytes: int(o.batch), Acks: o.acks, Compression: o.compression}
}

func (o *benchOptions) probes(a *app) (bench.Probes, error) {
	if !o.probe {
		return bench.Probes{}, nil
	}
	return probesOf(a)
}

// probesOf runs this very program as probe.
func probesOf(a *app) (bench.Probes, error) {
	self, err := os.Executable()
	if err != nil {
		return bench.Probes{}, fmt.Errorf("find this program: %w", err)
	}
	return bench.Probes{Command: []string{self, "bench", "probe"}, Stderr: a.errOut}, nil
}

// print writes one section.
func (o *benchOptions) print(a *app, s *bench.Section) error {
	if o.json {
		return writeJSON(a.out, s)
	}
	return s.Text(a.out)
}
