package s3bucket

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"time"
)

// silence is how long the network may lose all packets of a connection before it is given up and another is tried. It
// is longer than a store on a busy machine takes to acknowledge bytes, and short beside an upload's own limit.
const silence = 10 * time.Second

// patience is how long a store may take to begin an answer, and then to go on with it. Putting together a large object in
// parts is the slowest of what it is asked for.
const patience = 60 * time.Second

// Transport is the HTTP transport for one bucket: many long-lived connections to one host. A store that stops in the middle
// of an answer, though its machine still acknowledges all that is sent, holds nobody for longer than its patience.
type Transport struct {
	http.Transport
}

// NewTransport returns a Transport.
func NewTransport() *Transport {
	dialer := &net.Dialer{
		Timeout: 5 * time.Second,
		// A network that loses packets tells nobody: what waits for an answer asks whether the other side is there...
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: silence / 2, Interval: silence / 4, Count: 2},
		// ... and what was sent and stays unacknowledged ends the connection, not a quarter of an hour later.
		Control: limitUnacknowledged,
	}
	return &Transport{http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         dialer.DialContext,
		TLSHandshakeTimeout: 10 * time.Second,
		// A store that took a request answers within this or is taken for gone.
		ResponseHeaderTimeout: patience,
		ExpectContinueTimeout: time.Second,
		IdleConnTimeout:       60 * time.Second,
		// Uploads and cold readers come and go in numbers; a new TLS connection costs round trips.
		MaxIdleConns:        128,
		MaxIdleConnsPerHost: 128,
		// Objects are large: fewer, larger system calls.
		WriteBufferSize: 128 << 10,
		ReadBufferSize:  64 << 10,
		// An object is bytes; nobody may decompress it on the way.
		DisableCompression: true,
	}}
}

// RoundTrip implements http.RoundTripper.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	resp, err := t.Transport.RoundTrip(req.WithContext(ctx))
	if err != nil || resp.Body == http.NoBody {
		cancel(nil)
		return resp, err
	}
	a := &answer{ReadCloser: resp.Body, ctx: ctx, cancel: cancel}
	a.alarm = time.AfterFunc(patience, func() { cancel(errStopped) })
	a.alarm.Stop()
	resp.Body = a
	return resp, nil
}

var errStopped = errors.New("the store does not go on with its answer")

// answer is the body of a response. The alarm runs while somebody waits for bytes, not while nobody asks for any.
type answer struct {
	io.ReadCloser
	ctx    context.Context //nolint:containedctx // of the request, which the alarm ends
	cancel context.CancelCauseFunc
	alarm  *time.Timer
}

func (a *answer) Read(p []byte) (int, error) {
	a.alarm.Reset(patience)
	n, err := a.ReadCloser.Read(p)
	a.alarm.Stop()
	if err != nil && errors.Is(context.Cause(a.ctx), errStopped) {
		err = errStopped
	}
	return n, err
}

func (a *answer) Close() error {
	err := a.ReadCloser.Close()
	a.cancel(nil)
	return err
}
