package server

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"firn/broker/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what has to come, on a busy machine.
const patience = 2 * time.Minute

// handlerFunc is a Handler.
type handlerFunc func(*wire.Request)

func (f handlerFunc) Serve(r *wire.Request) { f(r) }

// echo answers at once with the request's correlation id in the throttle time.
func echo(r *wire.Request) { answer(r, nil) }

// answer replies to any request with a heartbeat response that carries the correlation id, or a
// Fetch response over records if there are any.
func answer(r *wire.Request, records wire.Extent) {
	if records == nil {
		r.ReplyBody(wire.EncodeResponse(r.CorrelationID, &kmsg.HeartbeatResponse{ThrottleMillis: r.CorrelationID, Version: 1}))
		return
	}
	p := wire.NewFetchPartition(0)
	p.Records = []wire.Extent{records}
	r.ReplyBody(wire.EncodeFetch(r.CorrelationID, 4, &wire.FetchResponse{Topics: []wire.FetchTopic{{Partitions: []wire.FetchPartition{p}}}}))
}

// pipeListener accepts in-memory connections, so that a test can run in a bubble with a clock of its
// own.
type pipeListener struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) dial() net.Conn {
	client, server := net.Pipe()
	select {
	case l.conns <- server:
	case <-l.done:
		server.Close()
	}
	return client
}

func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// harness is a running server and its listener.
type harness struct {
	t      testing.TB
	srv    *Server
	dial   func() net.Conn
	served chan error
}

// startPipes runs a server over in-memory connections.
func startPipes(t testing.TB, opts Options) *harness {
	l := newPipeListener()
	h := start(t, opts, l)
	h.dial = l.dial
	return h
}

// startTCP runs a server on a free port of this machine.
func startTCP(t testing.TB, opts Options) *harness {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := start(t, opts, l)
	h.dial = func() net.Conn {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	return h
}

func start(t testing.TB, opts Options, l net.Listener) *harness {
	srv, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	h := &harness{t: t, srv: srv, served: make(chan error, 1)}
	go func() { h.served <- srv.Serve(l, "PLAINTEXT") }()
	return h
}

// stop shuts the server down and checks that nothing is left behind.
func (h *harness) stop() {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := h.srv.Shutdown(ctx); err != nil {
		h.t.Errorf("shutdown: %v", err)
	}
	if err := <-h.served; !errors.Is(err, ErrStopped) {
		h.t.Errorf("serve: %v", err)
	}
	if n := h.srv.Connections(); n != 0 {
		h.t.Errorf("%d connections left", n)
	}
	if n := h.srv.MemoryUsed(); n != 0 {
		h.t.Errorf("%d bytes of requests left charged", n)
	}
	if n := h.srv.unwritten.Load(); n != 0 {
		h.t.Errorf("%d bytes of responses left counted", n)
	}
}

// request is a frame with its length: a heartbeat that carries padding in its group.
func request(correlation int32, padding int) []byte {
	req := kmsg.NewPtrHeartbeatRequest()
	req.Group = string(make([]byte, padding))
	return kmsg.NewRequestFormatter(kmsg.FormatterClientID("c")).AppendRequest(nil, req, correlation)
}

// readResponse returns the correlation id and the body of the next response.
func readResponse(c io.Reader) (int32, []byte, error) {
	head := make([]byte, 4)
	if _, err := io.ReadFull(c, head); err != nil {
		return 0, nil, err
	}
	b := make([]byte, binary.BigEndian.Uint32(head))
	if _, err := io.ReadFull(c, b); err != nil {
		return 0, nil, err
	}
	return int32(binary.BigEndian.Uint32(b)), b[4:], nil
}

// expect reads one response and checks whose it is.
func expect(t testing.TB, c net.Conn, correlation int32) []byte {
	t.Helper()
	got, body, err := readResponse(c)
	if err != nil {
		t.Fatalf("response %d: %v", correlation, err)
	}
	if got != correlation {
		t.Fatalf("response %d came where %d was due", got, correlation)
	}
	return body
}

func send(t testing.TB, c net.Conn, b []byte) {
	t.Helper()
	if _, err := c.Write(b); err != nil {
		t.Fatalf("send: %v", err)
	}
}

// expectClosed checks that the server has closed the connection.
func expectClosed(t testing.TB, c net.Conn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	if n, err := c.Read(make([]byte, 1)); err == nil {
		t.Fatalf("read %d bytes from a connection that was to be closed", n)
	} else if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
		t.Fatal("connection was not closed")
	}
}

// extent counts its releases.
type extent struct {
	wire.Bytes
	released chan struct{}
}

func newExtent(n int) *extent {
	return &extent{Bytes: make([]byte, n), released: make(chan struct{}, 10)}
}
func (e *extent) Release() { e.released <- struct{}{} }

// expectReleased checks that each extent is released once.
func expectReleased(t testing.TB, extents ...*extent) {
	t.Helper()
	for i, e := range extents {
		select {
		case <-e.released:
		case <-time.After(patience):
			t.Fatalf("extent %d was not released", i)
		}
	}
	for i, e := range extents {
		if len(e.released) != 0 {
			t.Fatalf("extent %d was released again", i)
		}
	}
}

// requestBytes is a frame with about n bytes behind its header that nobody decodes.
func requestBytes(n int) []byte {
	b := request(1, 0)
	b = append(b, make([]byte, n)...)
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}
