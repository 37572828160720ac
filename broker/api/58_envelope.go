package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/wire"
)

// Envelope (key 58), version 0.
//
// A request that another broker has got and that is the controller's to answer (KIP-590, see forward.go): the request as
// its client sent it, and who that is. It is authorised and served as if it had come from there, and the answer is as it
// would go to the client.
//
// On a broker that is not the controller: NOT_CONTROLLER. What is no request, or none of those that are forwarded, is
// INVALID_REQUEST, one that its client may not make CLUSTER_AUTHORIZATION_FAILED, one of a version that is not served
// UNSUPPORTED_VERSION, and a principal that is none PRINCIPAL_DESERIALIZATION_FAILURE.
//
// ApiVersions does not list it: it is for brokers, who speak for anybody by it.
func init() {
	registerBlocking(kmsg.Envelope, 0, 0, (*API).envelope)
	hide(kmsg.Envelope)
}

func (a *API) envelope(req *wire.Request, body *kmsg.EnvelopeRequest) {
	resp := kmsg.NewPtrEnvelopeResponse()
	data, err := a.openEnvelope(req, body)
	if err != nil {
		resp.ErrorCode, _ = a.outcome(err, "open envelope", "")
	}
	resp.ResponseData = data
	req.Reply(resp)
}

// openEnvelope serves the request in an envelope and returns the answer's bytes.
func (a *API) openEnvelope(req *wire.Request, body *kmsg.EnvelopeRequest) ([]byte, error) {
	who, err := wire.ParsePrincipal(body.RequestPrincipal)
	if err != nil {
		return nil, refusal(kerr.PrincipalDeserializationFailure, err.Error())
	}
	conn := &wire.Conn{
		ID: req.Conn.ID, Listener: req.Conn.Listener, Local: req.Conn.Local, Remote: &net.TCPAddr{IP: body.ClientHostAddress},
		Principal: who, Context: req.Conn.Context, Stopping: req.Conn.Stopping,
	}
	var sink kept
	inner, err := req.Inner(conn, body.RequestData, &sink)
	if err != nil {
		return nil, refusal(kerr.InvalidRequest, err.Error())
	}
	inner.Observer = a.met
	e, ok := entries[inner.Key]
	switch {
	case !ok || e.kind != byController:
		err = fmt.Errorf("%w: %s is not forwarded", kerr.InvalidRequest, kmsg.NameForKey(inner.Key))
	case inner.Version < e.min || inner.Version > e.max:
		err = kerr.UnsupportedVersion
	case !a.allows(inner, e):
		err = kerr.ClusterAuthorizationFailed
	default:
		err = a.checkController()
	}
	if err == nil {
		if err = inner.Decode(); err != nil {
			err = fmt.Errorf("%w: %w", kerr.InvalidRequest, err)
		}
	}
	if err != nil {
		inner.Close(err)
		return nil, err
	}
	return a.serveInOffice(e, inner, &sink)
}

// checkController returns NOT_CONTROLLER if this broker is not, or no longer, the controller.
func (a *API) checkController() error {
	ctx, cancel := context.WithTimeout(context.Background(), forwardTimeout)
	defer cancel()
	id, err := a.admin.Controller.Current(ctx)
	if err == nil && id != a.admin.BrokerID {
		err = kerr.NotController
	}
	return err
}

// kept is where the answer of a request in an envelope goes.
type kept struct {
	answer []byte
	err    error
}

// Deliver implements wire.Sink.
func (k *kept) Deliver(_ *wire.Request, body *wire.Body) {
	if body == nil {
		k.err = errors.Join(k.err, kerr.UnknownServerError)
		return
	}
	defer body.Release()
	var b bytes.Buffer
	if _, err := body.WriteTo(&b); err != nil {
		k.err = err
		return
	}
	k.answer = b.Bytes()[4:] // the length field
}

// Fail implements wire.Sink.
func (k *kept) Fail(_ *wire.Request, err error) { k.err = err }
