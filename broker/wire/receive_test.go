package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"testing"
	"time"
)

// appendAnswer appends a response's frame with a body of n random bytes.
func appendAnswer(b []byte, rng *rand.Rand, correlation int32, n int) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(n+4))
	b = binary.BigEndian.AppendUint32(b, uint32(correlation))
	for range n {
		b = append(b, byte(rng.Uint32()))
	}
	return b
}

// Answers of all sizes come whole through a connection that carries them in pieces, small ones after large ones, too.
func TestAnswersThroughTCP(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	here, there := tcpPair(t)
	if err := here.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	for i, n := range []int{0, 1, 100, 3<<20 + 17, 0, 5 << 20, 64 << 10, 1 << 20, 2, 1<<20 + 1} {
		sent := appendAnswer(nil, rng, int32(i), n)
		go func() {
			for rest := sent; len(rest) > 0; {
				n := min(len(rest), 300<<10)
				if _, err := there.Write(rest[:n]); err != nil {
					return
				}
				rest = rest[n:]
			}
		}()
		frame, correlation, err := ReadAnswer(here)
		if err != nil {
			t.Fatalf("answer %d of %d bytes: %v", i, n, err)
		}
		if correlation != int32(i) || !bytes.Equal(frame.B, sent[8:]) {
			t.Fatalf("answer %d of %d bytes came as %d of %d bytes", i, n, correlation, len(frame.B))
		}
		frame.Release()
	}
}

// Whoever waits for the rest of an answer hears of the connection's end, and of the end of his patience.
func TestAnswerThatDoesNotGoOn(t *testing.T) {
	answer := appendAnswer(nil, rand.New(rand.NewPCG(1, 0)), 1, 2<<20)
	for name, c := range map[string]struct {
		then func(here, there net.Conn) error
		want error
	}{
		"closed":   {func(_, there net.Conn) error { return there.Close() }, io.ErrUnexpectedEOF},
		"deadline": {func(here, _ net.Conn) error { return here.SetReadDeadline(time.Now()) }, os.ErrDeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			here, there := tcpPair(t)
			if err := here.SetDeadline(time.Now().Add(time.Minute)); err != nil {
				t.Fatal(err)
			}
			if _, err := there.Write(answer[:100<<10]); err != nil {
				t.Fatal(err)
			}
			failed := make(chan error)
			go func() {
				_, _, err := ReadAnswer(here)
				failed <- err
			}()
			if err := c.then(here, there); err != nil {
				t.Fatal(err)
			}
			if err := <-failed; !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
}
