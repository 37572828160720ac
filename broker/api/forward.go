package api

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/controller"
	"firn/broker/wire"
	"firn/metadata"
	"firn/metadata/topic"
)

// Changes of the cluster are decided by one broker, the controller. Clients that know it ask it, as Metadata names it; of
// those that ask another one the request is passed on, as it is, in an Envelope that says for whom (KIP-590). The answer
// is passed back.
//
// A controller that is not found, or is none any more, is looked for again until forwardTimeout is over, or the client has gone. Once it may have
// begun with the request it is not asked again: the answer is then REQUEST_TIMED_OUT, and what was asked for may still
// happen. So it is, too, once another controller is known and the one that was asked does not answer. A controller that is one no more
// when it begins has not begun, and says so for the request as a whole: no client is told to look for another one by a broker that it
// did not take for the controller.

const (
	// forwardTimeout bounds finding the controller and its answer. It gives up sooner itself.
	forwardTimeout = 30 * time.Second
	// forwardPause is how long to wait before looking for the controller again.
	forwardPause = 50 * time.Millisecond
	// maxForwarding is how many requests are on their way to the controller at a time, each on a connection of its own.
	// Others wait; the controller does one thing at a time anyway.
	maxForwarding = 16
)

// serveByController answers a request that is the controller's to serve, here or there.
func (a *API) serveByController(e entry, req *wire.Request) {
	ctx, cancel := context.WithTimeout(req.Conn.Context, forwardTimeout)
	defer cancel()
	body, err := a.forward(ctx, e, req)
	if body != nil {
		req.ReplyBody(body)
		return
	}
	if err := req.Decode(); err != nil {
		req.Close(err)
		return
	}
	if err != nil {
		refusing := *a
		refusing.admin.Controller = refuser{err}
		a = &refusing
	}
	e.serve(a, req)
}

// forward returns the controller's answer, ours if we are it, to a request that is not decoded yet and that nothing is wrong with. It
// returns an error if there is no answer to be had.
func (a *API) forward(ctx context.Context, e entry, req *wire.Request) (*wire.Body, error) {
	for {
		id, err := a.admin.Controller.Current(ctx)
		if err == nil && ctx.Err() != nil {
			err = metadata.ErrUnavailable
		}
		if err != nil {
			return nil, err
		}
		var body *wire.Body
		switch {
		case id == a.admin.BrokerID:
			body, err = a.forwardHere(e, req)
		case a.admin.Forward == nil:
			return nil, controller.ErrNotController
		case id >= 0:
			body, err = a.forwardTo(ctx, id, req)
		}
		if body != nil || err != nil && !errors.Is(err, metadata.ErrUnavailable) && !errors.Is(err, kerr.NotController) {
			return body, err
		}
		select {
		case <-time.After(forwardPause):
		case <-ctx.Done():
			return nil, errors.Join(metadata.ErrUnavailable, err)
		}
	}
}

// forwardHere serves a request as the controller, as if it had come in an envelope.
func (a *API) forwardHere(e entry, req *wire.Request) (*wire.Body, error) {
	var sink kept
	again, err := req.Again(&sink)
	if err != nil {
		return nil, err
	}
	if err := again.Decode(); err != nil {
		again.Close(err)
		return nil, err
	}
	answer, err := a.serveInOffice(e, again, &sink)
	if err != nil {
		return nil, err
	}
	return wire.RawBody(answer), nil
}

// serveInOffice serves a decoded request as the controller and returns the answer, which sink takes. It is NOT_CONTROLLER, and nothing has
// happened, if another had become the controller before there was anything done.
func (a *API) serveInOffice(e entry, req *wire.Request, sink *kept) ([]byte, error) {
	t := tenure{Controller: a.admin.Controller}
	serving := *a
	serving.admin.Controller = &t
	e.serve(&serving, req)
	if t.over && !t.used {
		return nil, kerr.NotController
	}
	return sink.answer, sink.err
}

func (a *API) forwardTo(ctx context.Context, id int32, req *wire.Request) (*wire.Body, error) {
	select {
	case a.forwarding <- struct{}{}:
		defer func() { <-a.forwarding }()
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: too many requests wait for the controller", metadata.ErrUnavailable)
	}
	// While it waited for its place another may have been elected.
	if now, err := a.admin.Controller.Current(ctx); err != nil || now != id {
		return nil, errors.Join(kerr.NotController, err)
	}
	env := kmsg.NewPtrEnvelopeRequest()
	env.RequestData = req.Frame()
	env.RequestPrincipal = req.Conn.Principal.AppendTo(nil)
	env.ClientHostAddress = hostAddress(req.Conn.Remote)
	resp, err := a.admin.Forward(ctx, id, env)
	if err != nil {
		return nil, err
	}
	if err := kerr.TypedErrorForCode(resp.ErrorCode); err != nil {
		return nil, err
	}
	if data := resp.ResponseData; len(data) >= 4 && int32(binary.BigEndian.Uint32(data)) == req.CorrelationID {
		return wire.RawBody(data), nil
	}
	return nil, fmt.Errorf("%w: broker %d has sent what is no answer", metadata.ErrUnknown, id)
}

// hostAddress is the bytes of a client's address, for the controller's log.
func hostAddress(addr net.Addr) []byte {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return []byte{}
	}
	if v4 := tcp.IP.To4(); v4 != nil {
		return v4
	}
	return tcp.IP
}

// refuser is a controller that answers everything with one error.
type refuser struct{ err error }

var _ Controller = refuser{}

func (r refuser) all(n int) []error {
	errs := make([]error, n)
	for i := range errs {
		errs[i] = r.err
	}
	return errs
}

func (r refuser) Current(context.Context) (int32, error) { return -1, r.err }

func (r refuser) CreateTopics(_ context.Context, topics []controller.NewTopic, _ bool) []controller.CreatedTopic {
	out := make([]controller.CreatedTopic, len(topics))
	for i := range out {
		out[i].Err = r.err
	}
	return out
}

func (r refuser) DeleteTopics(_ context.Context, ids []topic.ID) []error { return r.all(len(ids)) }

func (r refuser) CreatePartitions(_ context.Context, more []controller.MorePartitions, _ bool) []error {
	return r.all(len(more))
}

func (r refuser) AlterSettings(_ context.Context, alter []controller.AlterSettings, _ bool) []error {
	return r.all(len(alter))
}

func (r refuser) Reassign(_ context.Context, list []controller.Reassignment) []error {
	return r.all(len(list))
}

func (r refuser) Elect(_ context.Context, list []controller.Election) []error {
	return r.all(len(list))
}

func (r refuser) Unregister(context.Context, int32) error { return r.err }
