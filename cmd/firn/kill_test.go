package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"firn/broker/brokertest"
)

const (
	killPartitions = 4
	killProducers  = 3
)

// envInt is a number from the environment, for long versions of a test.
func envInt(t *testing.T, name string, usual int) int {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		return usual
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// stream is what one idempotent producer has sent: record n goes to partition n % killPartitions.
type stream struct {
	id      int
	cl      *kgo.Client
	mu      sync.Mutex
	offsets map[uint64]int64 // of acknowledged records
	failed  error
}

// payload says whose and which record it is, in bytes that can be checked.
func payload(id int, n uint64, size int) []byte {
	b := make([]byte, 16+size)
	binary.BigEndian.PutUint32(b, uint32(id))
	binary.BigEndian.PutUint64(b[4:], n)
	for i := range size {
		b[16+i] = byte(n) + byte(i%64)
	}
	binary.BigEndian.PutUint32(b[12:], crc32.ChecksumIEEE(b[16:]))
	return b
}

func readPayload(b []byte) (id int, n uint64, err error) {
	if len(b) < 16 || crc32.ChecksumIEEE(b[16:]) != binary.BigEndian.Uint32(b[12:]) {
		return 0, 0, fmt.Errorf("record of %d bytes is damaged", len(b))
	}
	return int(binary.BigEndian.Uint32(b)), binary.BigEndian.Uint64(b[4:]), nil
}

// send produces until ctx ends, a record each gap; what it has begun by then is still delivered by flush.
func (s *stream) send(ctx context.Context, seed uint64, gap time.Duration) {
	rng := rand.New(rand.NewPCG(seed, uint64(s.id)))
	begin := time.Now()
	for n := uint64(0); ctx.Err() == nil; n++ {
		if ahead := time.Duration(n)*gap - time.Since(begin); ahead > 0 {
			select {
			case <-time.After(ahead):
			case <-ctx.Done():
				return
			}
		}
		r := &kgo.Record{Topic: "kill", Partition: int32(n % killPartitions), Value: payload(s.id, n, rng.IntN(3000))}
		s.cl.Produce(context.Background(), r, func(r *kgo.Record, err error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if err != nil && s.failed == nil {
				s.failed = fmt.Errorf("record %d: %w", n, err)
			}
			s.offsets[n] = r.Offset
		})
	}
}

// crashRig keeps idempotent producers at work while a broker is made to crash, and then holds every
// acknowledgement against what can be read.
type crashRig struct {
	t       *testing.T
	p       *brokertest.Process
	rng     *rand.Rand
	streams []*stream
	stop    context.CancelFunc
	sending sync.WaitGroup
}

func newCrashRig(t *testing.T, p *brokertest.Process) *crashRig {
	t.Helper()
	return newPacedRig(t, p, 0)
}

// newPacedRig is newCrashRig with producers that each send a record per gap, to leave the machine room for more, and
// have more options.
func newPacedRig(t *testing.T, p *brokertest.Process, gap time.Duration, opts ...kgo.Opt) *crashRig {
	t.Helper()
	seed := uint64(envInt(t, "FIRN_SEED", int(time.Now().UnixNano()&0x7fffffff)))
	t.Logf("seed %d (FIRN_SEED)", seed)
	createKillTopic(t, p)
	ctx, stop := context.WithCancel(context.Background())
	r := &crashRig{t: t, p: p, rng: rand.New(rand.NewPCG(seed, 0)), stop: stop}
	t.Cleanup(stop)
	for id := range killProducers {
		cl, err := kgo.NewClient(append([]kgo.Opt{
			kgo.SeedBrokers(p.Bootstrap), kgo.RecordPartitioner(kgo.ManualPartitioner()),
			kgo.ProducerLinger(0), kgo.MaxBufferedRecords(500), kgo.StopProducerOnDataLossDetected(), kgo.AlwaysRetryEOF(), kgo.ProducerBatchMaxBytes(64 << 10),
			kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond }), kgo.MetadataMinAge(50 * time.Millisecond),
		}, opts...)...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(cl.Close)
		s := &stream{id: id, cl: cl, offsets: map[uint64]int64{}}
		r.streams = append(r.streams, s)
		r.sending.Go(func() { s.send(ctx, seed, gap) })
	}
	return r
}

// live lets the broker work for a random while.
func (r *crashRig) live(atMost time.Duration) {
	alive := time.NewTimer(50*time.Millisecond + time.Duration(r.rng.Int64N(int64(atMost))))
	<-alive.C
}

// finish lets every record arrive and verifies all.
func (r *crashRig) finish() {
	r.t.Helper()
	r.stop()
	r.sending.Wait()
	for _, s := range r.streams {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		if err := s.cl.Flush(ctx); err != nil {
			r.t.Fatalf("producer %d: records not delivered: %v", s.id, err)
		}
		cancel()
		if s.failed != nil {
			r.t.Fatalf("producer %d: %v", s.id, s.failed)
		}
	}
	verifyKilled(r.t, r.p, r.streams)
}

// Whatever moment a broker is killed at: every acknowledged record is there, once, in order, with the same
// bytes at the offset the client was told, whether it lies on disk or in the tier by now.
func TestKilledAtRandomMoments(t *testing.T) {
	r := newCrashRig(t, brokertest.Start(t, "--set", "log.retention.check.interval.ms=200"))
	for range envInt(t, "FIRN_CRASH_ROUNDS", 10) {
		r.live(1200 * time.Millisecond)
		r.p.Kill()
		r.p.Restart()
	}
	r.finish()
}

func createKillTopic(t *testing.T, p *brokertest.Process) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(p.Bootstrap))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	val := func(s string) *string { return &s }
	resp, err := kadm.NewClient(cl).CreateTopic(context.Background(), killPartitions, 1, map[string]*string{
		"segment.bytes": val("1048576"), "local.retention.ms": val("500"), "tier.max.lag.ms": val("300"), "tier.min.bytes": val("1"),
	}, "kill")
	if err != nil || resp.Err != nil {
		t.Fatal(err, resp.Err)
	}
}

func verifyKilled(t *testing.T, p *brokertest.Process, streams []*stream) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(p.Bootstrap), kgo.ConsumeTopics("kill"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	want := 0
	for _, s := range streams {
		want += len(s.offsets)
	}
	next := map[[2]int]uint64{} // producer and partition to the number of the record due
	ends := map[int32]int64{}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var got atomic.Int64
	for int(got.Load()) < want {
		fs := cl.PollFetches(ctx)
		if err := fs.Err(); err != nil {
			t.Fatalf("after %d of %d records: %v", got.Load(), want, err)
		}
		fs.EachRecord(func(r *kgo.Record) {
			got.Add(1)
			id, n, err := readPayload(r.Value)
			if err != nil || id >= len(streams) {
				t.Fatalf("partition %d offset %d: producer %d, %v", r.Partition, r.Offset, id, err)
			}
			at := [2]int{id, int(r.Partition)}
			due, ok := next[at]
			if !ok {
				due = uint64(r.Partition)
			}
			if n != due {
				t.Fatalf("partition %d offset %d: record %d of producer %d, due is %d", r.Partition, r.Offset, n, id, due)
			}
			next[at] = n + killPartitions
			if told := streams[id].offsets[n]; told != r.Offset {
				t.Fatalf("record %d of producer %d was acknowledged at offset %d and is at %d", n, id, told, r.Offset)
			}
			if r.Offset != ends[r.Partition] {
				t.Fatalf("partition %d: offset %d after %d", r.Partition, r.Offset, ends[r.Partition]-1)
			}
			ends[r.Partition]++
		})
	}
	tiers, err := p.Tiers("kill")
	if err != nil {
		t.Fatal(err)
	}
	var local, tiered, end int64
	for _, tr := range tiers {
		local, tiered, end = local+tr.LocalStart, tiered+max(tr.TieredEnd, 0), end+tr.End
		if tr.End != ends[tr.Partition] {
			t.Fatalf("partition %d ends at %d, read to %d: records nobody sent", tr.Partition, tr.End, ends[tr.Partition])
		}
	}
	t.Logf("%d records acknowledged and read back; %d were only in the tier, %d in the tier, of %d", want, local, tiered, end)
}
