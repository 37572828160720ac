package bench

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
)

// CompareFetch reads the same records from a broker and from a probe that sends ranges of files.
type CompareFetch struct {
	Server     Server
	Probes     Probes
	Dir        string // for a copy of the batches; on the broker's disk
	Name       string
	Topic      string            // that is there already; "" makes one and fills it
	Config     map[string]string // of the topic, beside that it is not tiered
	Cold       bool              // read from the disk, where the files are known
	Partitions int
	Rounds     int
	Bytes      int64
	Values     *Values
	FetchBytes int
	Passes     int // how often a round reads everything; 1 if 0
}

// Run fills a topic and measures.
func (c *CompareFetch) Run(ctx context.Context) (*Section, error) {
	s := &Section{
		Name: "fetch, " + c.Name,
		Setting: fmt.Sprintf("%d B %s records in batches of %d KiB, %d partitions, fetches of up to %d KiB a partition, %d MiB read %d times a round",
			c.Values.Size, c.Values.Kind, DefaultBatch>>10, c.Partitions, or(c.FetchBytes, DefaultFetch)>>10, c.Bytes/mib, or(c.Passes, 1)),
	}
	cl, topic := c.Server.Cluster, c.Topic
	if topic == "" {
		topic = topicName("fetch", 0)
		if err := c.fill(ctx, topic); err != nil {
			return nil, err
		}
	}
	starts, err := cl.offsets(ctx, topic, earliestOffset)
	if err != nil {
		return nil, err
	}
	ends, err := cl.offsets(ctx, topic, latestOffset)
	if err != nil {
		return nil, err
	}
	files, done, err := c.files(ctx, topic, starts, ends)
	if err != nil {
		return nil, err
	}
	defer done()
	read := func(cl Cluster) func(context.Context, int) (Moved, error) {
		return func(ctx context.Context, _ int) (Moved, error) {
			if c.Cold {
				if err := coolDown(files); err != nil {
					return Moved{}, err
				}
			}
			load := &Consume{Cluster: cl, Topic: topic, From: starts, To: ends, FetchBytes: c.FetchBytes}
			return load.runTimes(ctx, or(c.Passes, 1))
		}
	}
	err = c.Probes.with(ctx, probeSource, &source{Files: files}, func(probe *probeProcess) error {
		return takeTurns(ctx, s, c.Rounds, c.Dir, 0,
			side{"broker", c.Server.Pid, read(cl)},
			side{"probe", probe.pid(), probe.serves(read(Cluster{probe.Addr}))})
	})
	if err != nil {
		return nil, err
	}
	s.compare("CPU, broker / probe", "broker CPU", "probe CPU", limitFetchCPU, true)
	if c.Topic != "" {
		return s, nil
	}
	return s, cl.DeleteTopics(ctx, topic)
}

// fill makes the topic and produces to it.
func (c *CompareFetch) fill(ctx context.Context, topic string) error {
	cl := c.Server.Cluster
	config := maps.Clone(untiered)
	maps.Copy(config, c.Config)
	if err := cl.CreateTopic(ctx, topic, c.Partitions, Relaxed, config); err != nil {
		return err
	}
	_, err := (&Produce{Cluster: cl, Topic: topic, Values: c.Values, Bytes: c.Bytes}).Run(ctx)
	return err
}

// files are those of each partition that the probe sends: the broker's, or else copies, which done deletes.
func (c *CompareFetch) files(ctx context.Context, topic string, starts, ends map[int32]int64) (files [][]string, done func(), err error) {
	done = func() {}
	if c.Probes.None() {
		return nil, done, nil
	}
	if c.Server.Dir != "" {
		files, err = c.Server.segments(ctx, topic, len(ends))
		return files, done, err
	}
	dir, err := os.MkdirTemp(c.Dir, "firn-bench-copy-")
	if err != nil {
		return nil, done, err
	}
	for p := range int32(len(ends)) {
		name := filepath.Join(dir, fileName(p))
		if err := c.copy(ctx, topic, name, p, starts[p], ends[p]); err != nil {
			return nil, done, errors.Join(err, os.RemoveAll(dir))
		}
		files = append(files, []string{name})
	}
	return files, func() { _ = os.RemoveAll(dir) }, nil
}

// copyFetch is how much is asked for at once to make the copies.
const copyFetch = 4 << 20

// copy writes what clients get of a partition into a file.
func (c *CompareFetch) copy(ctx context.Context, topic, name string, p int32, from, to int64) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	if to > from {
		_, err = (&Replay{Cluster: c.Server.Cluster, Topic: topic, Partition: p, From: from, To: to, FetchBytes: copyFetch, Into: f}).Run(ctx)
	}
	return errors.Join(err, f.Close())
}
