package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Suite measures what is aimed at, on brokers it starts itself.
type Suite struct {
	Firn   string // program
	MinIO  string // program; "" leaves the tier out
	Etcd   string // program; "" leaves the broker without an embedded etcd out
	Probes Probes
	Dir    string // for all data, which is deleted
	Rounds int

	Parts []Part
	Only  []string // names of parts; none means all

	ProduceBytes int64         // a round of produce, relaxed
	FetchBytes   int64         // of a round of fetch
	ReplayBytes  int64         // of a replay
	Latency      time.Duration // of a round of latency
	Partitions   int           // for the restart
	Cluster      ClusterSizes
	// Beside are clients of other languages to be shown beside a failover: command lines of programs that take a
	// paceCommand, by name.
	Beside map[string]string

	// Done gets each section as soon as it is measured.
	Done func(*Section) error
}

// producePartitions, recordBytes and latencyRate are what the targets are stated for.
const (
	producePartitions = 8
	recordBytes       = 1 << 10
	latencyRate       = 5 * mib
	replayPace        = 50 * mib
	valuesSeed        = 1
	// fetchPasses makes a round of fetches long enough for the clock of processor time, which ticks every
	// 10 ms, where the first pass would be a tenth of a second.
	fetchPasses = 4
)

// Part is one part of a suite.
type Part struct {
	name string
	run  func(s *Suite, ctx context.Context) error
}

// BrokerParts measure one broker, in the order they run.
var BrokerParts = []Part{
	{"first-ack", one((*Suite).firstAck)},
	{"idle", one((*Suite).idle)},
	{"produce", (*Suite).produce},
	{"durable", (*Suite).durable},
	{"latency", (*Suite).latency},
	{"fetch", (*Suite).fetch},
	{"replay", (*Suite).replay},
	{"restart", one((*Suite).restart)},
}

// Names names parts.
func Names(parts []Part) []string {
	var names []string
	for _, p := range parts {
		names = append(names, p.name)
	}
	return names
}

// one makes a part of what measures one section.
func one(measure func(*Suite, context.Context) (*Section, error)) func(*Suite, context.Context) error {
	return func(s *Suite, ctx context.Context) error {
		sec, err := measure(s, ctx)
		if err != nil {
			return err
		}
		return s.Done(sec)
	}
}

// Run measures. The report has the sections that were measured before an error, too.
func (s *Suite) Run(ctx context.Context) (*Report, error) {
	r := &Report{Started: time.Now(), Machine: describeMachine()}
	done := s.Done
	inner := *s
	inner.Done = func(sec *Section) error {
		r.Sections = append(r.Sections, sec)
		return done(sec)
	}
	for _, name := range s.Only {
		if all := Names(s.Parts); !slices.Contains(all, name) {
			return r, fmt.Errorf("no part %q: there are %s", name, strings.Join(all, ", "))
		}
	}
	var err error
	if inner.Dir, err = os.MkdirTemp(s.Dir, "firn-bench-"); err != nil {
		return r, err
	}
	for _, p := range s.Parts {
		if len(s.Only) > 0 && !slices.Contains(s.Only, p.name) {
			continue
		}
		if err := p.run(&inner, ctx); err != nil {
			return r, fmt.Errorf("%s: %w (what the servers wrote is in %s)", p.name, err, inner.Dir)
		}
	}
	return r, os.RemoveAll(inner.Dir)
}

// on runs fn against a fresh broker without a tier. With an etcd program it is a plain broker, whose
// processor time is then not etcd's, too.
func (s *Suite) on(ctx context.Context, name string, fn func(n *node) error) error {
	dir := filepath.Join(s.Dir, name)
	n, done, err := s.plain(ctx, dir)
	if err != nil {
		return err
	}
	err = fn(n)
	return errors.Join(err, n.stop(), done(), os.RemoveAll(dir))
}

// plain starts a broker without a tier, and what it needs, which done stops.
func (s *Suite) plain(ctx context.Context, dir string) (n *node, done func() error, err error) {
	if s.Etcd == "" {
		n, err = s.start(ctx, "dev", dir, nil, startFlags...)
		return n, func() error { return nil }, err
	}
	etcd, addr, err := s.startEtcd(ctx, dir+"-etcd")
	if err != nil {
		return nil, nil, err
	}
	n, err = s.start(ctx, "broker", dir, nil, "--set", "node.id=1", "--set", "etcd.endpoints="+addr)
	if err != nil {
		return nil, nil, errors.Join(err, etcd.stop())
	}
	return n, func() error { return errors.Join(etcd.stop(), os.RemoveAll(dir+"-etcd")) }, nil
}

func (s *Suite) values(kind string) (*Values, error) { return NewValues(kind, recordBytes, valuesSeed) }

func (s *Suite) produce(ctx context.Context) error { return s.produceAt(ctx, Relaxed, s.ProduceBytes) }

func (s *Suite) durable(ctx context.Context) error {
	return s.produceAt(ctx, Durable, s.ProduceBytes/2)
}

func (s *Suite) produceAt(ctx context.Context, level string, n int64) error {
	values, err := s.values(Random)
	if err != nil {
		return err
	}
	return s.on(ctx, "produce-"+level, func(b *node) error {
		sec, err := (&CompareProduce{
			Server: b.server(), Probes: s.Probes, Dir: s.Dir, Level: level, Partitions: producePartitions, Rounds: s.Rounds, Bytes: n, Values: values,
		}).Run(ctx)
		if err != nil {
			return err
		}
		return s.Done(sec)
	})
}

func (s *Suite) latencyOn(b *node, values *Values) CompareLatency {
	return CompareLatency{
		Server: b.server(), Probes: s.Probes, Dir: s.Dir, Level: Durable, Partitions: producePartitions, Rounds: s.Rounds,
		Rate: latencyRate, Duration: s.Latency, Values: values,
	}
}

func (s *Suite) latency(ctx context.Context) error {
	values, err := s.values(JSON)
	if err != nil {
		return err
	}
	return s.on(ctx, "latency", func(b *node) error {
		c := s.latencyOn(b, values)
		sec, err := c.Run(ctx)
		if err != nil {
			return err
		}
		return s.Done(sec)
	})
}

func (s *Suite) fetch(ctx context.Context) error {
	values, err := s.values(JSON)
	if err != nil {
		return err
	}
	return s.on(ctx, "fetch", func(b *node) error {
		for _, c := range []CompareFetch{
			{Name: "hot tail (active segments, in the page cache)", Config: map[string]string{"segment.bytes": "1073741824"}},
			{Name: "local history (sealed segments, in the page cache)", Config: map[string]string{"segment.bytes": "16777216"}},
			{Name: "local history (sealed segments, from the disk)", Config: map[string]string{"segment.bytes": "16777216"}, Cold: true},
		} {
			c.Server, c.Probes, c.Dir, c.Partitions, c.Rounds, c.Bytes, c.Values = b.server(), s.Probes, s.Dir, producePartitions, s.Rounds, s.FetchBytes, values
			if c.Passes = fetchPasses; c.Cold {
				c.Passes = 1
			}
			sec, err := c.Run(ctx)
			if err != nil {
				return err
			}
			if err := s.Done(sec); err != nil {
				return err
			}
		}
		return nil
	})
}
