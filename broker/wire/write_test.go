package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// fileExtent is a range of a file.
type fileExtent struct {
	f        *os.File
	pos      int64
	n        int
	released *int
}

func (e *fileExtent) Len() int                                { return e.n }
func (e *fileExtent) File() (fd uintptr, pos int64, ok bool)  { return e.f.Fd(), e.pos, true }
func (e *fileExtent) ReadAt(p []byte, off int64) (int, error) { return e.f.ReadAt(p, e.pos+off) }
func (e *fileExtent) Release() {
	if e.released != nil {
		*e.released++
	}
}

// patternFile makes a file whose bytes tell their position, and returns them too.
func patternFile(t testing.TB, size int) (*os.File, []byte) {
	content := make([]byte, size)
	for i := 0; i+8 <= size; i += 8 {
		binary.BigEndian.PutUint64(content[i:], uint64(i)*0x9e3779b97f4a7c15)
	}
	name := filepath.Join(t.TempDir(), "segment")
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f, content
}

func tcpPair(t testing.TB) (client, server net.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			t.Error(err)
		}
		accepted <- c
	}()
	client, err = net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server = <-accepted
	t.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

func never(time.Duration) bool { return false }

// randomBody is a Fetch response over ranges of a file and memory, and the bytes it has to become.
func randomBody(rng *rand.Rand, f *os.File, content []byte, released *int) (*Body, []byte) {
	resp := &FetchResponse{}
	want := kmsg.NewPtrFetchResponse()
	want.Version = 12
	for range 1 + rng.IntN(3) {
		t, wt := FetchTopic{Topic: "t"}, kmsg.NewFetchResponseTopic()
		wt.Topic = "t"
		for i := range int32(rng.IntN(5)) {
			p, wp := NewFetchPartition(i), kmsg.NewFetchResponseTopicPartition()
			wp.Partition, wp.HighWatermark = i, -1
			wp.RecordBatches = []byte{}
			for range rng.IntN(3) {
				n := rng.IntN([]int{100, 20_000, 300_000}[rng.IntN(3)])
				pos := rng.IntN(len(content) - n)
				wp.RecordBatches = append(wp.RecordBatches, content[pos:pos+n]...)
				if rng.IntN(5) == 0 {
					p.Records = append(p.Records, Bytes(content[pos:pos+n]))
				} else {
					p.Records = append(p.Records, &fileExtent{f: f, pos: int64(pos), n: n, released: released})
				}
			}
			t.Partitions, wt.Partitions = append(t.Partitions, p), append(wt.Partitions, wp)
		}
		resp.Topics, want.Topics = append(resp.Topics, t), append(want.Topics, wt)
	}
	plain := EncodeResponse(5, want)
	defer plain.Release()
	var b bytes.Buffer
	_, _ = plain.WriteTo(&b)
	return EncodeFetch(5, 12, resp), b.Bytes()
}

// Many connections send ranges of one file at the same time, and each gets its own bytes: with a
// position shared between them, as net.TCPConn.ReadFrom has it, they would not.
func TestManyWritersOfOneFile(t *testing.T) {
	readers, rounds := 64, 6
	if testing.Short() || raced {
		rounds = 2
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	f, content := patternFile(t, 4<<20)
	var wg sync.WaitGroup
	for g := range readers {
		client, server := tcpPair(t)
		rng := rand.New(rand.NewPCG(seed, uint64(g)))
		var bodies []*Body
		var want []byte
		var large int64 // bytes of the runs that are to go from the file
		for range rounds {
			b, w := randomBody(rng, f, content, nil)
			bodies, want = append(bodies, b), append(want, w...)
			for _, r := range b.runs {
				if _, _, ok := r.ext.File(); ok && r.ext.Len() >= sendfileBytes {
					large += int64(r.ext.Len())
				}
			}
		}
		wg.Go(func() {
			defer server.Close()
			w := NewWriter(server, time.Minute, never)
			for i := range bodies { // in twos, to have several bodies in one call
				if i%2 == 0 {
					if err := w.Write(bodies[i:min(i+2, len(bodies))]); err != nil {
						t.Error(err)
					}
				}
			}
			sent, fromFile := w.Counts()
			if sent != int64(len(want)) {
				t.Errorf("says it sent %d of %d", sent, len(want))
			}
			if runtime.GOOS == "linux" && fromFile != large {
				t.Errorf("%d bytes went from the file, not %d", fromFile, large)
			}
		})
		wg.Go(func() {
			got, err := io.ReadAll(client)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("writer %d: %d of %d bytes, %v, or they differ", g, len(got), len(want), err)
			}
		})
	}
	wg.Wait()
}

// The portable way gives the same bytes.
func TestWriterWithoutFiles(t *testing.T) {
	f, content := patternFile(t, 1<<20)
	rng := rand.New(rand.NewPCG(1, 1))
	client, server := net.Pipe() // not TCP
	var released int
	body, want := randomBody(rng, f, content, &released)
	for len(body.runs) == 0 {
		body, want = randomBody(rng, f, content, &released)
	}
	go func() {
		if err := NewWriter(server, time.Minute, never).Write([]*Body{body}); err != nil {
			t.Error(err)
		}
		server.Close()
	}()
	got, err := io.ReadAll(client)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%d of %d bytes, %v, or they differ", len(got), len(want), err)
	}
	files := 0
	for _, r := range body.runs {
		if _, ok := r.ext.(*fileExtent); ok {
			files++
		}
	}
	before := released
	body.Release()
	if released-before != files {
		t.Errorf("%d of %d extents released", released-before, files)
	}
}

// A file that is shorter than the header promised must end the connection: what the client reads
// next would be taken for records.
func TestShortFileIsAnError(t *testing.T) {
	for _, n := range []int{sendfileBytes / 2, 4 * sendfileBytes} {
		f, content := patternFile(t, n)
		if err := os.Truncate(f.Name(), int64(len(content)/2)); err != nil {
			t.Fatal(err)
		}
		p := NewFetchPartition(0)
		p.Records = []Extent{&fileExtent{f: f, n: n}}
		body := EncodeFetch(1, 12, &FetchResponse{Topics: []FetchTopic{{Topic: "t", Partitions: []FetchPartition{p}}}})
		client, server := tcpPair(t)
		go func() { _, _ = io.Copy(io.Discard, client) }()
		err := NewWriter(server, time.Minute, never).Write([]*Body{body})
		if err == nil || n >= sendfileBytes && runtime.GOOS == "linux" && !errors.Is(err, ErrShortSend) {
			t.Errorf("%d bytes: %v", n, err)
		}
		body.Release()
	}
}

// A client that takes its bytes late gets them all; one that takes none is given up.
func TestWriterPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		body := EncodeFetch(1, 12, &FetchResponse{Topics: []FetchTopic{{Topic: "t", Partitions: []FetchPartition{{
			Records: []Extent{Bytes(make([]byte, 100))},
		}}}}})
		var asked []time.Duration
		w := NewWriter(server, 10*time.Second, func(since time.Duration) bool {
			asked = append(asked, since)
			return since >= 25*time.Second
		})
		done := make(chan error, 1)
		go func() { done <- w.Write([]*Body{body}) }()
		<-time.After(15 * time.Second)
		b := make([]byte, 20)
		if _, err := io.ReadFull(client, b); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if err := <-done; !errors.Is(err, ErrNotTaken) {
			t.Fatal(err)
		}
		if d := time.Since(start); d < 20*time.Second || d > 40*time.Second || len(asked) < 3 {
			t.Errorf("given up after %v, asked at %v", d, asked)
		}
		if sent, _ := w.Counts(); sent != 20 {
			t.Errorf("sent %d", sent)
		}
		body.Release()
	})
}

func BenchmarkWriterSendfile(b *testing.B) {
	for _, n := range []int{16 << 10, 64 << 10, 1 << 20} {
		b.Run(byteCount(n), func(b *testing.B) {
			f, _ := patternFile(b, 8<<20)
			client, server := tcpPair(b)
			go func() { _, _ = io.Copy(io.Discard, client) }()
			w := NewWriter(server, time.Minute, never)
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				p := NewFetchPartition(0)
				p.Records = []Extent{&fileExtent{f: f, n: n}}
				body := EncodeFetch(1, 12, &FetchResponse{Topics: []FetchTopic{{Topic: "t", Partitions: []FetchPartition{p}}}})
				if err := w.Write([]*Body{body}); err != nil {
					b.Fatal(err)
				}
				body.Release()
			}
		})
	}
}

func byteCount(n int) string {
	if n >= 1<<20 {
		return "1MiB"
	}
	return map[int]string{16 << 10: "16KiB", 64 << 10: "64KiB"}[n]
}
