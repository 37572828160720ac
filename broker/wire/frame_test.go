package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func frameOptions(b *Budget) FrameOptions {
	return FrameOptions{Max: 10 << 20, Budget: b, Stop: make(chan struct{}), Idle: 10 * time.Minute, Stall: 30 * time.Second}
}

func framed(payload []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(payload))), payload...)
}

// pieces is a Source that gives its bytes in pieces of random size.
type pieces struct {
	rng  *rand.Rand
	rest []byte
	most int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.rest[:min(len(p.rest), 1+p.rng.IntN(p.most))])
	p.rest = p.rest[n:]
	return n, nil
}
func (p *pieces) SetReadDeadline(time.Time) error { return nil }

func TestFramesInPiecesOfAnySize(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	for _, most := range []int{1, 7, 1000, 5000, 1 << 20} {
		var stream []byte
		var want [][]byte
		for range 60 {
			n := leastFrame + rng.IntN([]int{1, 30, 3000, 300_000}[rng.IntN(4)])
			if most < 1000 {
				n = min(n, 3000)
			}
			p := make([]byte, n)
			for i := range p {
				p[i] = byte(rng.Uint32())
			}
			want = append(want, p)
			stream = append(stream, framed(p)...)
		}
		budget := NewBudget(1 << 30)
		f := NewFrameReader(&pieces{rng: rng, rest: stream, most: most}, frameOptions(budget))
		for i, w := range want {
			buf, lease, err := f.Next()
			if err != nil {
				t.Fatalf("pieces of %d: frame %d: %v", most, i, err)
			}
			if !bytes.Equal(buf.B, w) {
				t.Fatalf("pieces of %d: frame %d of %d bytes differs", most, i, len(w))
			}
			if held := budget.Used(); held != int64(buf.Size()) {
				t.Fatalf("charged %d for a buffer of %d", held, buf.Size())
			}
			buf.Release()
			lease.Release()
		}
		if _, _, err := f.Next(); !errors.Is(err, io.EOF) {
			t.Fatalf("at the end: %v", err)
		}
		if budget.Used() != 0 {
			t.Fatalf("%d bytes left charged", budget.Used())
		}
	}
}

func TestFrameLengthsOutOfRange(t *testing.T) {
	for _, tt := range []struct{ name, head, hint string }{
		{"negative", "\xff\xff\xff\xff", ""},
		{"too small", "\x00\x00\x00\x09", ""},
		{"zero", "\x00\x00\x00\x00", ""},
		{"too large", "\x00\xa0\x00\x01", ""},
		{"http", "GET / HTTP/1.1\r\n", "HTTP"},
		{"tls", "\x16\x03\x01\x02\x00\x01", "TLS"},
		{"ssh", "SSH-2.0-OpenSSH", "SSH"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			budget := NewBudget(1 << 20)
			f := NewFrameReader(&pieces{rng: rand.New(rand.NewPCG(1, 1)), rest: []byte(tt.head), most: 100}, frameOptions(budget))
			_, _, err := f.Next()
			if !errors.Is(err, ErrFrameSize) || !errors.Is(err, ErrMalformed) {
				t.Fatalf("got %v", err)
			}
			if !bytes.Contains([]byte(err.Error()), []byte(tt.hint)) {
				t.Errorf("%q does not say %q", err, tt.hint)
			}
			if budget.Used() != 0 {
				t.Errorf("%d bytes left charged", budget.Used())
			}
		})
	}
}

// A length field is only a promise: memory follows what has arrived.
func TestFrameBufferGrowsWithArrivedBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		defer client.Close()
		defer server.Close()
		budget := NewBudget(1 << 30)
		const n = 8 << 20
		f := NewFrameReader(server, frameOptions(budget))
		done := make(chan error, 1)
		read := func() {
			buf, lease, err := f.Next()
			if err == nil {
				buf.Release()
				lease.Release()
			}
			done <- err
		}
		go read()
		send := func(p []byte) {
			if _, err := client.Write(p); err != nil {
				t.Error(err)
			}
			synctest.Wait()
		}
		send(binary.BigEndian.AppendUint32(nil, n))
		if used := budget.Used(); used != 0 {
			t.Fatalf("%d bytes charged for a length field", used)
		}
		chunk := make([]byte, 1000)
		for sent := 0; sent < n; sent += len(chunk) {
			chunk = chunk[:min(len(chunk), n-sent)]
			send(chunk)
			if used := budget.Used(); used > int64(max(secondStep, 2*(sent+len(chunk)))) {
				t.Fatalf("%d bytes charged after %d", used, sent+len(chunk))
			}
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		// One that has kept its promise gets the room at once.
		go read()
		send(append(binary.BigEndian.AppendUint32(nil, n), make([]byte, headBytes)...))
		if used := budget.Used(); used != n {
			t.Fatalf("%d bytes charged for the second frame", used)
		}
		client.Close()
		if err := <-done; !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatal(err)
		}
		if budget.Used() != 0 {
			t.Fatalf("%d bytes left charged", budget.Used())
		}
	})
}

// timedNext reads one frame in the background.
func timedNext(f *FrameReader) chan error {
	done := make(chan error, 1)
	go func() {
		buf, lease, err := f.Next()
		if err == nil {
			buf.Release()
			lease.Release()
		}
		done <- err
	}()
	return done
}

func TestSlowFrames(t *testing.T) {
	tests := []struct {
		name  string
		frame int           // its length
		every time.Duration // between pieces
		piece int
		want  error
	}{
		{"nothing after part of the length", 1000, time.Hour, 3, ErrStalled},
		{"nothing after the length", 1000, time.Hour, 4, ErrStalled},
		{"nothing after a part", 100_000, time.Hour, 50_000, ErrStalled},
		{"a byte now and then", 1000, 20 * time.Second, 1, ErrStalled},
		{"slow but steady", 400_000, 20 * time.Second, 20_000, nil},
		{"a small frame in two parts", 1000, 20 * time.Second, 600, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, server := net.Pipe()
				defer server.Close()
				budget := NewBudget(1 << 30)
				f := NewFrameReader(server, frameOptions(budget))
				done, over := timedNext(f), make(chan struct{})
				go func() {
					for rest := framed(make([]byte, tt.frame)); len(rest) > 0; {
						n, err := client.Write(rest[:min(tt.piece, len(rest))])
						if err != nil {
							return
						}
						rest = rest[n:]
						select {
						case <-time.After(tt.every):
						case <-over:
						}
					}
				}()
				if err := <-done; !errors.Is(err, tt.want) {
					t.Errorf("got %v, want %v", err, tt.want)
				}
				if budget.Used() != 0 {
					t.Errorf("%d bytes left charged", budget.Used())
				}
				client.Close()
				close(over)
			})
		})
	}
}

func TestIdleIsToldAndMayGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		defer client.Close()
		defer server.Close()
		f := NewFrameReader(server, frameOptions(NewBudget(1<<20)))
		start := time.Now()
		for range 2 {
			if err := <-timedNext(f); !errors.Is(err, ErrIdle) {
				t.Fatal(err)
			}
		}
		if d := time.Since(start); d < 19*time.Minute || d > 21*time.Minute {
			t.Errorf("idle twice after %v", d)
		}
		done := timedNext(f)
		_, _ = client.Write(framed(make([]byte, 100)))
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}

// While memory is used up a connection is not read, and the one that may go on has to be quick.
func TestFramesWaitForMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		budget := NewBudget(64 << 10)
		holder := budget.Lease(nil)
		mustGrow(t, holder, 64<<10)
		open := func() (net.Conn, chan error) {
			client, server := net.Pipe()
			t.Cleanup(func() { client.Close(); server.Close() })
			return client, timedNext(NewFrameReader(server, frameOptions(budget)))
		}
		first, firstDone := open()
		_, _ = first.Write(framed(make([]byte, 100_000))[:40_000]) // may go beyond, and then stands still
		synctest.Wait()
		second, secondDone := open()
		_, _ = second.Write(framed(make([]byte, 100)))
		synctest.Wait()
		if budget.Waiting() != 1 {
			t.Fatalf("%d waiting", budget.Waiting())
		}
		start := time.Now()
		if err := <-firstDone; !errors.Is(err, ErrStalled) {
			t.Fatal(err)
		}
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("stood in the way for %v", d)
		}
		if err := <-secondDone; err != nil {
			t.Fatal(err)
		}
		holder.Release()
		if budget.Used() != 0 {
			t.Errorf("%d bytes left charged", budget.Used())
		}
	})
}

// A request may be served several times before it is answered, and is charged for one copy meanwhile.
func TestAgain(t *testing.T) {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version = 7
	for range 100 {
		req.Topics = append(req.Topics, kmsg.CreateTopicsRequestTopic{Topic: strings.Repeat("t", 100), NumPartitions: 1, ReplicationFactor: 1})
	}
	frame := kmsg.NewRequestFormatter().AppendRequest(nil, req, 9)[4:]
	budget := NewBudget(1 << 30)
	lease := budget.Lease(nil)
	buf := NewBuffer(len(frame))
	if err := lease.Grow(buf.Size()); err != nil {
		t.Fatal(err)
	}
	copy(buf.B, frame)
	r, err := ParseRequest(&Conn{}, buf, lease, discard{})
	if err != nil {
		t.Fatal(err)
	}
	before := budget.Used()
	var charged int64
	for i := range 3 {
		again, err := r.Again(discard{})
		if err != nil {
			t.Fatal(err)
		}
		if err := again.Decode(); err != nil || !reflect.DeepEqual(again.Body, kmsg.Request(req)) || !bytes.Equal(r.Frame(), frame) {
			t.Fatalf("%v: %+v", err, again.Body)
		}
		again.NoReply()
		if used := budget.Used(); used <= before || i > 0 && used != charged {
			t.Errorf("%d bytes charged, %d before, and %d for another", used, before, charged)
		}
		charged = budget.Used()
	}
	if err := r.Decode(); err != nil || !reflect.DeepEqual(r.Body, kmsg.Request(req)) {
		t.Errorf("%v: %+v", err, r.Body)
	}
	r.NoReply()
	if used := budget.Used(); used != 0 {
		t.Errorf("%d bytes left charged", used)
	}
}

func FuzzFrames(f *testing.F) {
	f.Add(framed(make([]byte, 20)), 3)
	f.Add(append(framed(make([]byte, 4200)), framed(make([]byte, 30))...), 900)
	f.Add([]byte("GET / HTTP/1.0\r\n\r\n"), 1)
	f.Add([]byte{0, 0x10, 0, 0, 1, 2, 3}, 2)
	f.Fuzz(func(t *testing.T, stream []byte, most int) {
		if most < 1 || most > 1<<20 {
			return
		}
		budget := NewBudget(1 << 30)
		opts := frameOptions(budget)
		opts.Max = 1 << 20
		r := NewFrameReader(&pieces{rng: rand.New(rand.NewPCG(1, 1)), rest: stream, most: most}, opts)
		for {
			buf, lease, err := r.Next()
			if err != nil {
				break
			}
			if req, err := ParseRequest(&Conn{}, buf, lease, discard{}); err == nil {
				_ = req.Decode()
				req.NoReply()
			} else {
				buf.Release()
				lease.Release()
			}
		}
		if budget.Used() != 0 {
			t.Errorf("%d bytes left charged", budget.Used())
		}
	})
}
