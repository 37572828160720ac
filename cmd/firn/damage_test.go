package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"firn/broker/brokertest"
)

// fill sends n records of a topic to each partition, record i with the payload (partition, i).
func fill(t *testing.T, p *brokertest.Process, topic string, partitions int32, from, n int) {
	t.Helper()
	cl := kafkaClient(t, p, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchMaxBytes(64<<10), kgo.ProducerBatchCompression(kgo.NoCompression()))
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	var recs []*kgo.Record
	for part := range partitions {
		for i := range n {
			recs = append(recs, &kgo.Record{Topic: topic, Partition: part, Value: payload(int(part), uint64(from+i), 1000)})
		}
	}
	if err := cl.ProduceSync(ctx, recs...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// readAll reads a partition from offset 0 to before end, or until an answer other than records or one that clients
// wait for arrives, or none does for a while, and returns how many records it got. They must be fill's.
func readAll(t *testing.T, p *brokertest.Process, topic string, partition int32, end int, patience time.Duration) (int, error) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(p.Bootstrap), kgo.KeepRetryableFetchErrors(), kgo.FetchMaxWait(300*time.Millisecond),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().At(0)}}),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd())) // the reset that must not happen
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	n := 0
	var last error
	for n < end {
		fs := cl.PollFetches(ctx)
		fs.EachRecord(func(r *kgo.Record) {
			id, i, err := readPayload(r.Value)
			if err != nil || r.Offset != int64(n) || i != uint64(n) || id != int(partition) {
				t.Errorf("partition %d: record %d of %d at offset %d where %d is due: %v", partition, i, id, r.Offset, n, err)
			}
			n++
		})
		for _, e := range fs.Errors() {
			if !errors.Is(e.Err, context.DeadlineExceeded) {
				last = e.Err
			}
		}
		if ctx.Err() != nil {
			return n, errors.Join(fmt.Errorf("%d of %d records", n, end), last)
		}
	}
	return n, nil
}

// damage is something done to a file, and undone.
type damage struct {
	path string
	was  []byte
}

func (d *damage) undo(t *testing.T) {
	t.Helper()
	if err := os.WriteFile(d.path, d.was, 0o600); err != nil {
		t.Fatal(err)
	}
}

// hurt changes the i-th file, from the end if i is negative, of those that match.
func hurt(t *testing.T, pattern string, i int, change func(path string, b []byte) error) *damage {
	t.Helper()
	list, err := filepath.Glob(pattern)
	slices.Sort(list)
	if i < 0 {
		i += len(list)
	}
	if err != nil || i < 0 || i >= len(list) {
		t.Fatalf("%s: file %d of %v, %v", pattern, i, list, err)
	}
	was, err := os.ReadFile(list[i])
	if err != nil {
		t.Fatal(err)
	}
	if err := change(list[i], slices.Clone(was)); err != nil {
		t.Fatal(err)
	}
	return &damage{list[i], was}
}

func flipAt(at func(b []byte) int) func(string, []byte) error {
	return func(path string, b []byte) error {
		b[at(b)] ^= 0x10
		return os.WriteFile(path, b, 0o600)
	}
}

func cutShort(path string, b []byte) error { return os.Truncate(path, int64(len(b)-1)) }
func remove(path string, _ []byte) error   { return os.Remove(path) }

// lastBatch is the position of the last batch of a segment.
func lastBatch(b []byte) int {
	at := 0
	for {
		next := at + 12 + int(uint32(b[at+8])<<24|uint32(b[at+9])<<16|uint32(b[at+10])<<8|uint32(b[at+11]))
		if next >= len(b) {
			return at
		}
		at = next
	}
}

// A segment file that is damaged, cut short or gone below what was durable: the partition answers with an error, the
// log says which file and where, firn check does too, other partitions serve, and nothing is cut: with the bytes put
// back all records are there. No reader ever gets a wrong record or skips one.
func TestDamagedSegments(t *testing.T) {
	t.Parallel()
	const records = 2500 // about two sealed segments and an active one
	last := func(b []byte) int { return len(b) - 100 }
	cases := []struct {
		name    string
		file    int // segment, from the end if negative
		change  func(string, []byte) error
		refused bool // the whole partition is, for what can be seen without reading all bytes
	}{
		{"healthy", 0, nil, false},
		{"sealed segment cut short", 0, cutShort, true},
		{"sealed segment gone", 1, remove, true},
		{"active segment cut short", -1, cutShort, true},
		{"active segment gone", -1, remove, true},
		{"length in the active segment", -1, flipAt(func(b []byte) int { return lastBatch(b) + 10 }), false},
		{"record in a sealed segment", 0, flipAt(last), false},
		{"record in the active segment", -1, flipAt(last), false},
		{"length in a sealed segment", 1, flipAt(func(b []byte) int { return lastBatch(b) + 10 }), false},
	}
	p := brokertest.Start(t, "--tier", "none")
	createTopic(t, p, "rot", int32(len(cases)), "segment.bytes", "1048576")
	fill(t, p, "rot", int32(len(cases)), 0, records)
	p.Stop()
	logs := filepath.Join(p.Dir, "log")
	segments := func(part int) string { return filepath.Join(logs, "*-"+strconv.Itoa(part), "*.log") }
	if out, code := brokertest.Run(t, "check", logs); code != exitOK {
		t.Fatalf("check before anything is wrong: exit code %d\n%s", code, out)
	}
	var done []*damage
	sizes := map[string]int64{}
	for i, c := range cases {
		if c.change != nil {
			done = append(done, hurt(t, segments(i), c.file, c.change))
		}
	}
	all, _ := filepath.Glob(filepath.Join(logs, "*", "*.log"))
	for _, f := range all {
		info, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		sizes[f] = info.Size()
	}
	out, code := brokertest.Run(t, "check", logs)
	if code != exitError {
		t.Errorf("check: exit code %d", code)
	}
	for i, d := range done {
		if !strings.Contains(out, d.path) {
			t.Errorf("check does not name %s (%s):\n%s", d.path, cases[i+1].name, out)
		}
	}

	p.Restart()
	cl := byName(t, p)
	ctx, cancel := context.WithTimeout(context.Background(), 2*testTimeout)
	defer cancel()
	for i, c := range cases {
		switch {
		case c.refused:
			_, err := rawFetch(ctx, cl, "rot", int32(i), 0, 0)
			if !errors.Is(err, kerr.KafkaStorageError) {
				t.Errorf("%s: fetch: %v", c.name, err)
			}
			rec := &kgo.Record{Topic: "rot", Partition: int32(i), Value: []byte("x")}
			if err := produceOnce(ctx, t, p, rec); !errors.Is(err, kerr.KafkaStorageError) {
				t.Errorf("%s: produce: %v", c.name, err)
			}
			if path := done[i-1].path; !strings.Contains(p.Log(), path) {
				t.Errorf("%s: the log does not name %s", c.name, path)
			}
		case c.change == nil:
			if _, err := readAll(t, p, "rot", int32(i), records, testTimeout); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
		default:
			n, err := readAll(t, p, "rot", int32(i), records, 2*time.Second)
			t.Logf("%s: readers stop after %d records: %v", c.name, n, err)
			if err == nil || n == records {
				t.Errorf("%s: damage went unseen", c.name)
			}
		}
	}
	fill(t, p, "rot", 1, records, 10) // the healthy one takes records
	p.Stop()
	for f, size := range sizes {
		if info, err := os.Stat(f); err != nil || info.Size() < size {
			t.Errorf("%s was %d bytes and is %v, %v", f, size, info, err)
		}
	}
	for _, d := range done {
		d.undo(t)
	}
	p.Restart()
	for i, c := range cases {
		if _, err := readAll(t, p, "rot", int32(i), records, testTimeout); err != nil {
			t.Errorf("%s, with its bytes put back: %v", c.name, err)
		}
	}
}

// produceOnce sends a record and gives up at the first error.
func produceOnce(ctx context.Context, t *testing.T, p *brokertest.Process, rec *kgo.Record) error {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(p.Bootstrap), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.RecordRetries(0),
		kgo.DisableIdempotentWrite(), kgo.ProducerLinger(0))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	return cl.ProduceSync(ctx, rec).FirstErr()
}

// An object of the tier that is damaged, cut short or gone: readers get an error that they try again after, never wrong
// bytes, never a record too few, and no reset; it is counted and the log names the object. Once the object is back they
// go on. Other partitions notice nothing.
func TestDamagedObjects(t *testing.T) {
	t.Parallel()
	const records = 2500
	cases := []struct {
		name   string
		change func(string, []byte) error
		metric string
	}{
		{"healthy", nil, ""},
		{"flipped bit", flipAt(func(b []byte) int { return len(b) / 2 }), "firn_partition_corruption_errors_total"},
		{"flipped bit in the footer", flipAt(func(b []byte) int { return len(b) - 60 }), "firn_partition_corruption_errors_total"},
		{"cut short", cutShort, "firn_partition_corruption_errors_total"},
		{"gone", remove, "firn_tiering_missing_objects_total"},
	}
	p := brokertest.Start(t, "--set", "log.retention.check.interval.ms=100", "--set", "tier.cache.bytes=0")
	createTopic(t, p, "rot", int32(len(cases)), "segment.bytes", "1048576", "local.retention.ms", "1", "tier.min.bytes", "1", "tier.max.lag.ms", "100")
	fill(t, p, "rot", int32(len(cases)), 0, records)
	p.Eventually("all is in the tier alone", func() (bool, error) {
		tiers, err := p.Tiers("rot")
		for _, tr := range tiers {
			if tr.LocalStart < records {
				return false, fmt.Errorf("%+v", tr)
			}
		}
		return len(tiers) == len(cases), err
	})
	objects := func(part int) string {
		return filepath.Join(p.Dir, "tier", "*", "*", "*", strconv.Itoa(part), "s", "*.seg")
	}
	var done []*damage
	for i, c := range cases {
		if c.change != nil {
			done = append(done, hurt(t, objects(i), 1, c.change))
		}
	}
	for i, c := range cases {
		if c.change == nil {
			if _, err := readAll(t, p, "rot", int32(i), records, testTimeout); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		before, _ := p.Metric(c.metric)
		n, err := readAll(t, p, "rot", int32(i), records, 3*time.Second)
		t.Logf("%s: readers stop after %d records: %v", c.name, n, err)
		if err == nil || n == 0 || !errors.Is(err, kerr.KafkaStorageError) && !errors.Is(err, kerr.CorruptMessage) {
			t.Errorf("%s: readers stop after %d records: %v", c.name, n, err)
		}
		if after, err := p.Metric(c.metric); err != nil || after <= before {
			t.Errorf("%s: %s is %v after %v, %v", c.name, c.metric, after, before, err)
		}
		if key := filepath.Base(done[i-1].path); !strings.Contains(p.Log(), key) {
			t.Errorf("%s: the log does not name %s", c.name, key)
		}
	}
	for _, d := range done {
		d.undo(t)
	}
	for i, c := range cases {
		if _, err := readAll(t, p, "rot", int32(i), records, testTimeout); err != nil {
			t.Errorf("%s, with the object back: %v", c.name, err)
		}
	}
}
