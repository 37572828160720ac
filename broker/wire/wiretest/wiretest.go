// Package wiretest makes requests for tests of what serves them, and reads responses back.
//
// What belongs here: a Sink that keeps outcomes, and the client's side of the encoding. What does
// not: sockets.
package wiretest

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/wire"
)

// Outcome is what became of one request.
type Outcome struct {
	// Response is decoded at the request's version; nil if there was none. It does not alias the
	// body, which has been released.
	Response kmsg.Response
	// Raw is the body as written on the wire, its length field included.
	Raw []byte
	// Err is why the connection was closed.
	Err error
}

// Sink keeps the outcome of each request delivered to it.
type Sink struct {
	// Outcomes receives one value per finished request.
	Outcomes chan Outcome
	failed   chan error
}

var _ wire.Sink = (*Sink)(nil)

// NewSink returns a sink for up to 1,000 outcomes that nobody has taken yet.
func NewSink() *Sink {
	return &Sink{Outcomes: make(chan Outcome, 1000), failed: make(chan error, 1000)}
}

// Deliver implements wire.Sink: it writes the body out, releases it and decodes the bytes.
func (s *Sink) Deliver(r *wire.Request, body *wire.Body) {
	var out Outcome
	select {
	case out.Err = <-s.failed:
	default:
	}
	if body != nil {
		var b bytes.Buffer
		if _, err := body.WriteTo(&b); err != nil {
			out.Err = err
		}
		body.Release()
		out.Raw = b.Bytes()
		if out.Err == nil {
			out.Response, out.Err = decode(r, out.Raw)
		}
	}
	s.Outcomes <- out
}

// Fail implements wire.Sink.
func (s *Sink) Fail(_ *wire.Request, err error) { s.failed <- err }

// decode reads a response as the client that sent r would. An ApiVersions response that refuses the
// version has the form of version 0.
func decode(r *wire.Request, raw []byte) (kmsg.Response, error) {
	resp := kmsg.ResponseForKey(r.Key)
	resp.SetVersion(r.Version)
	b := raw[8:]
	if r.Key == kmsg.ApiVersions.Int16() {
		if r.Version > resp.MaxVersion() || binary.BigEndian.Uint16(b) == 35 {
			resp.SetVersion(0)
		}
	} else if resp.IsFlexible() {
		b = b[1:]
	}
	return resp, resp.ReadFrom(b)
}

// NewConn returns a connection of the anonymous principal that lives as long as the test.
func NewConn(t testing.TB) *wire.Conn {
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	addr := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9092}
	return &wire.Conn{
		ID: 1, Listener: "PLAINTEXT", Local: addr, Remote: addr,
		Principal: wire.Anonymous, Context: ctx, Stopping: ctx.Done(),
	}
}

// NewRequest encodes req, whose version must be set, as a client does and parses it as the server
// does.
func NewRequest(t testing.TB, conn *wire.Conn, sink wire.Sink, req kmsg.Request) *wire.Request {
	t.Helper()
	raw := kmsg.NewRequestFormatter(kmsg.FormatterClientID("test")).AppendRequest(nil, req, 7)
	return NewRawRequest(t, conn, sink, raw[4:])
}

// NewRawRequest parses frame, which has no length field.
func NewRawRequest(t testing.TB, conn *wire.Conn, sink wire.Sink, frame []byte) *wire.Request {
	t.Helper()
	buf := wire.NewBuffer(len(frame))
	copy(buf.B, frame)
	r, err := wire.ParseRequest(conn, buf, nil, sink)
	if err != nil {
		t.Fatalf("parse request: %v", err)
	}
	return r
}
