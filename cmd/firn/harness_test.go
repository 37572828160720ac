package main

import (
	"bytes"
	"context"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// testTimeout bounds what a busy machine may make of a command that takes milliseconds.
const testTimeout = 60 * time.Second

// fakeCluster starts a Kafka cluster in this process and returns an address of it.
func fakeCluster(t *testing.T, opts ...kfake.Opt) (*kfake.Cluster, string) {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.SleepOutOfOrder()}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, c.ListenAddrs()[0]
}

// result is what a command line came to.
type result struct {
	code     int
	out, err string
}

// firn runs one command line against the cluster at addr, if that is not empty.
func firn(t *testing.T, addr, stdin string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	var out, errOut bytes.Buffer
	a := testApp(addr, strings.NewReader(stdin), &out, &errOut)
	code := run(ctx, a, args)
	if ctx.Err() != nil {
		t.Fatalf("firn %q did not end; it wrote %q and %q", args, out.String(), errOut.String())
	}
	return result{code, out.String(), errOut.String()}
}

func testApp(addr string, in io.Reader, out, errOut io.Writer) *app {
	env := []string{"HOME=/nowhere"}
	if addr != "" {
		env = append(env, "FIRN_BOOTSTRAP_SERVER="+addr)
	}
	return &app{
		in: in, out: out, errOut: errOut, environ: func() []string { return env }, now: time.Now, newNode: noNode, program: "firn",
	}
}

// ok fails the test unless the command succeeded, and returns its output.
func (r result) ok(t *testing.T) string {
	t.Helper()
	if r.code != exitOK {
		t.Fatalf("exit code %d, out %q, err %q", r.code, r.out, r.err)
	}
	return r.out
}

// fails fails the test unless the command ended with code and its error holds want.
func (r result) fails(t *testing.T, code int, want string) {
	t.Helper()
	if r.code != code || !strings.Contains(r.err, want) {
		t.Fatalf("exit code %d, err %q, want %d and %q", r.code, r.err, code, want)
	}
}

// syncBuffer is a buffer that one goroutine fills and another watches.
type syncBuffer struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	news chan struct{} // closed and made anew with each write
}

func newSyncBuffer() *syncBuffer { return &syncBuffer{news: make(chan struct{})} }

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.news)
	b.news = make(chan struct{})
	return b.buf.Write(p)
}

// waitFor returns once the buffer holds text.
func (b *syncBuffer) waitFor(t *testing.T, text string) {
	t.Helper()
	limit := time.After(testTimeout)
	for {
		b.mu.Lock()
		have, news := b.buf.String(), b.news
		b.mu.Unlock()
		if strings.Contains(have, text) {
			return
		}
		select {
		case <-news:
		case <-limit:
			t.Fatalf("no %q in %q", text, have)
		}
	}
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// background runs a command line until stop is called, which returns its exit code.
func background(t *testing.T, a *app, args ...string) (stop func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	code := make(chan int, 1)
	go func() { code <- run(ctx, a, args) }()
	var once sync.Once
	got := -1
	stop = func() int {
		once.Do(func() {
			cancel()
			select {
			case got = <-code:
			case <-time.After(testTimeout):
				t.Errorf("firn %q does not stop", args)
			}
		})
		return got
	}
	t.Cleanup(func() { stop() })
	return stop
}
