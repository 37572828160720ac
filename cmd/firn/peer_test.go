package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// peer is a connection to one broker over which a test says what it likes and hears what that broker says: nothing is
// asked again or elsewhere, as client libraries do. It belongs to one goroutine, but for Close.
type peer struct {
	net.Conn

	sent, heard int32          // requests and answers, which come in order
	waiting     []kmsg.Request // sent, not answered yet
}

// peerTimeout bounds how long a broker that is alive takes to answer, or to be reached.
const peerTimeout = 2 * time.Second

func dialPeer(addr string) (*peer, error) {
	conn, err := net.DialTimeout("tcp", addr, peerTimeout)
	if err != nil {
		return nil, err
	}
	return &peer{Conn: conn}, nil
}

// send sends a request of the version that it is set to.
func (p *peer) send(req kmsg.Request) error {
	_, err := p.Write(kmsg.NewRequestFormatter(kmsg.FormatterClientID("peer")).AppendRequest(nil, req, p.sent))
	p.sent++
	p.waiting = append(p.waiting, req)
	return err
}

// receive waits for the answer to the oldest request that has none.
func (p *peer) receive(limit time.Duration) (kmsg.Response, error) {
	if err := p.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return nil, err
	}
	var size [4]byte
	if _, err := io.ReadFull(p, size[:]); err != nil {
		return nil, err
	}
	body := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(p, body); err != nil {
		return nil, err
	}
	req := p.waiting[0]
	p.waiting = p.waiting[1:]
	head := 4
	if req.IsFlexible() && req.Key() != kmsg.ApiVersions.Int16() {
		head = 5 // no tags
	}
	if len(body) < head || int32(binary.BigEndian.Uint32(body)) != p.heard {
		return nil, fmt.Errorf("answer %x to request %d", body, p.heard)
	}
	p.heard++
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	return resp, resp.ReadFrom(body[head:])
}

// ask sends a request and waits for its answer.
func (p *peer) ask(req kmsg.Request) (kmsg.Response, error) {
	if err := p.send(req); err != nil {
		return nil, err
	}
	return p.receive(peerTimeout)
}

// closeWith has the connection closed when ctx ends, or when the function that it returns is called.
func (p *peer) closeWith(ctx context.Context) (closeNow func()) {
	stop := context.AfterFunc(ctx, func() { _ = p.Close() })
	return func() { stop(); _ = p.Close() }
}

// askAt asks whoever listens at addr one thing.
func askAt(addr string, req kmsg.Request) (kmsg.Response, error) {
	p, err := dialPeer(addr)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	return p.ask(req)
}
