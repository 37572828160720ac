package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testTimeout bounds what takes milliseconds on a machine that is not busy.
const testTimeout = time.Minute

func fakeKafka(t *testing.T) Cluster {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SleepOutOfOrder())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return Cluster{c.ListenAddrs()[0]}
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	t.Cleanup(cancel)
	return ctx
}

func testValues(t *testing.T, kind string) *Values {
	t.Helper()
	v, err := NewValues(kind, 1000, 1)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// probe runs a probe in this process until the test ends.
func probe(t *testing.T, kind string, config any) probeHello {
	t.Helper()
	cfg, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	in, stop := io.Pipe()
	out, say := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- RunProbe(t.Context(), kind, cfg, in, say) }()
	t.Cleanup(func() {
		_ = stop.Close()
		if err := <-done; err != nil {
			t.Errorf("probe %s: %v", kind, err)
		}
	})
	var hello probeHello
	if err := json.NewDecoder(out).Decode(&hello); err != nil {
		t.Fatal(err)
	}
	return hello
}

func TestLoads(t *testing.T) {
	ctx, cl, values := testContext(t), fakeKafka(t), testValues(t, JSON)
	if err := cl.CreateTopic(ctx, "t", 3, Relaxed, nil); err != nil {
		t.Fatal(err)
	}
	const n = 2000
	m, err := (&Produce{Cluster: cl, Topic: "t", Values: values, Bytes: n * 1000, Sending: Sending{BatchBytes: 16 << 10, Compression: "none"}}).Run(ctx)
	if err != nil || m.Records != n || m.Bytes != n*1000 || m.Rate() <= 0 {
		t.Fatalf("produced %+v, %v", m, err)
	}
	ends, err := cl.offsets(ctx, "t", latestOffset)
	if err != nil {
		t.Fatal(err)
	}
	starts, err := cl.offsets(ctx, "t", earliestOffset)
	if err != nil {
		t.Fatal(err)
	}
	m, err = (&Consume{Cluster: cl, Topic: "t", From: starts, To: ends}).Run(ctx)
	if err != nil || m.Records != n || m.Bytes != n*1000 {
		t.Fatalf("consumed %+v, %v; ends are %v", m, err, ends)
	}
	var records int64
	for p := range ends {
		var all bytes.Buffer
		m, err := (&Replay{Cluster: cl, Topic: "t", Partition: p, From: starts[p], To: ends[p], FetchBytes: 20 << 10, Into: &all}).Run(ctx)
		if err != nil || m.Bytes != int64(all.Len()) {
			t.Fatalf("replayed %+v, %v", m, err)
		}
		records += m.Records
	}
	if records != n {
		t.Errorf("replayed %d records of %d", records, n)
	}
	if err := cl.DeleteTopics(ctx, "t", "never-there"); err != nil {
		t.Error(err)
	}
}

func TestLatency(t *testing.T) {
	ctx, cl := testContext(t), fakeKafka(t)
	if err := cl.CreateTopic(ctx, "t", 2, AsIs, nil); err != nil {
		t.Fatal(err)
	}
	r, err := (&Latency{
		Cluster: cl, Topic: "t", Values: testValues(t, Random), Rate: 500_000, Duration: 300 * time.Millisecond,
		WarmUp: 100 * time.Millisecond, EndToEnd: true,
	}).Run(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if r.Moved.Records != 200 || r.Ack.Count() != 150 || r.EndToEnd.Count() != 150 {
		t.Errorf("%d sent, %d acks and %d arrivals counted, want 200, 150, 150", r.Moved.Records, r.Ack.Count(), r.EndToEnd.Count())
	}
	if p50, top := r.Ack.At(50), r.Ack.At(100); p50 <= 0 || top < p50 {
		t.Errorf("p50 %v, max %v", p50, top)
	}
}

// What was not sent in time counts from when it was due.
func TestLatencyCountsFromTheSchedule(t *testing.T) {
	ck := clock{time.Now().Add(-10 * time.Second), time.Second}
	if d, counts := ck.since(4 * time.Second); !counts || d < 6*time.Second {
		t.Errorf("%v, counts %v", d, counts)
	}
	if _, counts := ck.since(time.Second / 2); counts {
		t.Error("the warm-up counts")
	}
}

func TestSinkTakesWhatABrokerTakes(t *testing.T) {
	for name, durable := range map[string]bool{"relaxed": false, "durable": true} {
		t.Run(name, func(t *testing.T) {
			ctx, dir := testContext(t), t.TempDir()
			h := probe(t, probeSink, &sink{Dir: dir, Partitions: 4, Sync: durable})
			m, err := (&Produce{Cluster: Cluster{h.Addr}, Topic: "t", Values: testValues(t, Random), Bytes: 3_000_000, Sending: Sending{BatchBytes: 32 << 10}}).Run(ctx)
			if err != nil || m.Records != 3000 {
				t.Fatalf("%+v, %v", m, err)
			}
			files, _ := filepath.Glob(filepath.Join(dir, "t", "*.log"))
			size := int64(0)
			for _, f := range files {
				info, err := os.Stat(f)
				if err != nil {
					t.Fatal(err)
				}
				size += info.Size()
			}
			if durable != (len(files) == 1) || size < m.Bytes || size > m.Bytes+m.Bytes/10 {
				t.Errorf("%d files with %d bytes", len(files), size)
			}
		})
	}
}

func TestSinkRefusesWrongChecksums(t *testing.T) {
	f := &sinkFile{}
	if _, err := f.append(make([]byte, batchHeader-1)); err == nil {
		t.Error("a short batch is taken")
	}
	b := make([]byte, batchHeader+10)
	b[crcAt] = 1
	if _, err := f.append(b); err == nil || !strings.Contains(err.Error(), "checksum") {
		t.Errorf("wrong checksum: %v", err)
	}
}

// A source gives back the batches that were copied from a cluster, over several files.
func TestSourceGivesBackWhatWasCopied(t *testing.T) {
	ctx, cl, values := testContext(t), fakeKafka(t), testValues(t, JSON)
	if err := cl.CreateTopic(ctx, "t", 2, AsIs, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := (&Produce{Cluster: cl, Topic: "t", Values: values, Bytes: 2_000_000, Sending: Sending{BatchBytes: 8 << 10}}).Run(ctx); err != nil {
		t.Fatal(err)
	}
	ends, err := cl.offsets(ctx, "t", latestOffset)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var files [][]string
	c := CompareFetch{Server: Server{Cluster: cl}}
	for p := range int32(2) {
		mid := ends[p] / 2
		a, b := filepath.Join(dir, "a"+fileName(p)), filepath.Join(dir, "b"+fileName(p))
		if err := c.copy(ctx, "t", a, p, 0, mid); err != nil {
			t.Fatal(err)
		}
		l := &sourceLog{}
		f, err := os.Open(a)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.scan(f); err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
		if err := c.copy(ctx, "t", b, p, l.next, ends[p]); err != nil {
			t.Fatal(err)
		}
		files = append(files, []string{a, b})
	}
	h := probe(t, probeSource, &source{Files: files})
	m, err := (&Consume{Cluster: Cluster{h.Addr}, Topic: "any", From: map[int32]int64{0: 0, 1: 0}, To: ends, FetchBytes: 50_000}).runTimes(ctx, 2)
	if err != nil || m.Records != 4000 {
		t.Errorf("read %+v, %v", m, err)
	}
}

func TestRawSync(t *testing.T) {
	dir := t.TempDir()
	config, err := json.Marshal(&rawSync{Dir: dir, Bytes: 100_000, Piece: 30_000})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := RunProbe(testContext(t), probeSync, config, strings.NewReader(""), &out); err != nil {
		t.Fatal(err)
	}
	var h probeHello
	if err := json.Unmarshal(out.Bytes(), &h); err != nil || h.Bytes != 120_000 || h.Seconds <= 0 {
		t.Errorf("%s: %v", out.Bytes(), err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("%d files are left", len(left))
	}
}

func TestRunProbeRefuses(t *testing.T) {
	for kind, config := range map[string]string{"no-such": "{}", probeSink: "nonsense"} {
		if err := RunProbe(testContext(t), kind, []byte(config), strings.NewReader(""), io.Discard); err == nil {
			t.Errorf("probe %s with %s runs", kind, config)
		}
	}
}
