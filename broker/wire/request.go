package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

var (
	// ErrMalformed is wrapped by every error about bytes that are not a Kafka request.
	ErrMalformed = errors.New("malformed request")
	// ErrUnknownAPI means a key or version for which there is no decoder.
	ErrUnknownAPI = errors.New("unknown api key or version")
)

// Sink is where a request's outcome goes; the server's side of a connection.
type Sink interface {
	// Deliver takes the response of r and owns it from here on; nil means that r gets no response.
	// It is called at most once for a request, from any goroutine, and does not block.
	Deliver(r *Request, body *Body)
	// Fail closes the connection because of err, in the request's turn. It may be called at any time and more than
	// once, before Deliver.
	Fail(r *Request, err error)
}

// Observer is told once when a request has got its outcome.
type Observer interface {
	// RequestDone gets the response's size in bytes on the wire, 0 if there was none.
	RequestDone(r *Request, responseBytes int)
}

// Request is one request of one connection. The handler it is given to must finish it exactly once,
// by Reply, ReplyBody, NoReply or Close, from whichever goroutine.
type Request struct {
	Key, Version  int16
	CorrelationID int32
	// ClientID is the beginning of the client's name for itself, empty if null. It does not alias the frame.
	ClientID string
	Conn     *Conn
	// Received is when the last byte of the frame had arrived.
	Received time.Time
	// Size is the frame's length in bytes without its length field.
	Size int
	// Seq numbers the requests of a connection in the order of arrival.
	Seq uint64
	// Body is the decoded message once Decode has succeeded. That of a Produce request aliases the
	// frame, with its strings and bytes; all others may be kept.
	Body kmsg.Request
	// Observer, if set before the request is finished, is told its outcome.
	Observer Observer

	frame    *Buffer
	payload  []byte      // what follows client id in the frame
	lease    *Lease      // what the frame and Body are charged to; may be nil
	frameRef atomic.Bool // the request still owns the frame
	outcome  atomic.Int32
	sink     Sink
	copied   bool // it is charged for a copy
}

// headerLen is the fixed part of every request header: key, version, correlation id, and the length
// of the client id.
const headerLen = 2 + 2 + 4 + 2

// maxClientID is how many bytes are kept of a client's name: they stay with a request that waits and is not charged for.
const maxClientID = 1 << 10

// ParseRequest reads the header of the frame in buf.B, whose length field is not part of it. On
// success the request owns the caller's reference to buf, and lease, which may be nil and is
// released with it. On error the caller still owns both.
//
// Tagged fields of a flexible header belong to Decode, because only the message's kind tells
// whether there are any.
func ParseRequest(conn *Conn, buf *Buffer, lease *Lease, sink Sink) (*Request, error) {
	b := buf.B
	if len(b) < headerLen-2 {
		return nil, fmt.Errorf("%w: header of %d bytes", ErrMalformed, len(b))
	}
	r := &Request{
		Key:           int16(binary.BigEndian.Uint16(b)),
		Version:       int16(binary.BigEndian.Uint16(b[2:])),
		CorrelationID: int32(binary.BigEndian.Uint32(b[4:])),
		Conn:          conn,
		Received:      time.Now(),
		Size:          len(b),
		frame:         buf,
		lease:         lease,
		sink:          sink,
	}
	b = b[headerLen-2:]
	if len(b) < 2 {
		return nil, fmt.Errorf("%w: no client id", ErrMalformed)
	}
	n := int(int16(binary.BigEndian.Uint16(b)))
	b = b[2:]
	if n > len(b) {
		return nil, fmt.Errorf("%w: client id of %d bytes, %d left", ErrMalformed, n, len(b))
	}
	if n > 0 {
		r.ClientID = string(b[:min(n, maxClientID)])
		b = b[n:]
	}
	r.payload = b
	r.frameRef.Store(true)
	return r, nil
}

// Inner parses a request that came in the body of r, as data, on behalf of conn. What r is charged for becomes its own.
func (r *Request) Inner(conn *Conn, data []byte, sink Sink) (*Request, error) {
	if r.lease != nil {
		if err := r.lease.Grow(sizeOf(len(data))); err != nil {
			return nil, err
		}
	}
	return NewRequest(conn, data, r.lease, sink)
}

// NewRequest is ParseRequest for a request that no socket has brought: it copies the frame. lease, which may be nil, has
// been charged for that.
func NewRequest(conn *Conn, frame []byte, lease *Lease, sink Sink) (*Request, error) {
	buf := NewBuffer(len(frame))
	copy(buf.B, frame)
	r, err := ParseRequest(conn, buf, lease, sink)
	if err != nil {
		buf.Release()
	}
	return r, err
}

// Again returns r, which is not decoded yet, once more: to be served by itself and answered to sink, while r can still be passed on
// or served. The copy shares the frame, is charged to r, for one at a time, and must be finished before r is.
func (r *Request) Again(sink Sink) (*Request, error) {
	if r.lease != nil && !r.copied {
		_, cost, err := r.message()
		if err == nil {
			err = r.lease.Grow(cost + len(r.payload))
		}
		if err != nil {
			return nil, err
		}
		r.copied = true
	}
	r.frame.Retain()
	c, err := ParseRequest(r.Conn, r.frame, nil, sink)
	if err != nil {
		r.frame.Release()
	}
	return c, err
}

// Frame is the request as it came, header and all. It is valid until Decode or ReleaseFrame.
func (r *Request) Frame() []byte { return r.frame.B }

// ReleaseFrame gives a Produce request's frame back before the request is finished: nothing that came
// out of its Body may be touched afterwards, nor handed to Reply. Other requests merely stop being
// charged for.
func (r *Request) ReleaseFrame() {
	if !r.frameRef.Swap(false) {
		return
	}
	r.Body, r.payload = nil, nil
	if r.frame != nil {
		r.frame.Release()
		r.frame = nil
	}
	if r.lease != nil {
		r.lease.Release()
	}
}

// Reply answers with a message, whose version is set to the request's. The message is encoded
// before Reply returns and may alias the frame.
func (r *Request) Reply(resp kmsg.Response) {
	resp.SetVersion(r.Version)
	r.ReplyBody(EncodeResponse(r.CorrelationID, resp))
}

// What has become of a request.
const (
	outcomeNone int32 = iota
	outcomeAnswered
	outcomeClosed
)

// ReplyBody answers with an encoded body, which the request owns from here on.
func (r *Request) ReplyBody(body *Body) {
	if !r.finish(outcomeAnswered) {
		body.Release()
		return
	}
	size := body.Len()
	r.ReleaseFrame()
	r.sink.Deliver(r, body)
	r.observe(size)
}

// NoReply finishes a request that gets no response, as Produce with acks=0.
func (r *Request) NoReply() {
	if !r.finish(outcomeAnswered) {
		return
	}
	r.ReleaseFrame()
	r.sink.Deliver(r, nil)
	r.observe(0)
}

// Close finishes a request by closing its connection in the request's turn, which is what Kafka does where there is no
// response to carry err: a malformed request, an unknown version, a failed write without acks. It
// may be called from outside the handler, and does nothing to a request that is finished.
func (r *Request) Close(err error) {
	if !r.outcome.CompareAndSwap(outcomeNone, outcomeClosed) {
		return
	}
	r.ReleaseFrame()
	r.sink.Fail(r, err)
	r.sink.Deliver(r, nil)
	r.observe(0)
}

// finish tells whether the request can still be answered. A second answer is a bug of the handler;
// one after Close has merely come too late.
func (r *Request) finish(outcome int32) bool {
	if r.outcome.CompareAndSwap(outcomeNone, outcome) {
		return true
	}
	if r.outcome.Load() == outcomeAnswered {
		panic(fmt.Sprintf("wire: second answer to api key %d v%d", r.Key, r.Version))
	}
	return false
}

func (r *Request) observe(responseBytes int) {
	if r.Observer != nil {
		r.Observer.RequestDone(r, responseBytes)
	}
}

// Finished tells whether the request has got its outcome.
func (r *Request) Finished() bool { return r.outcome.Load() != outcomeNone }
