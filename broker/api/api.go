package api

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"

	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/wire"
)

var (
	// ErrUnauthorized closes a connection whose principal may not make a request of this kind.
	ErrUnauthorized = errors.New("request not authorized")
	// ErrUnsupportedVersion closes a connection that asks for a key or version which is not served.
	ErrUnsupportedVersion = errors.New("unsupported api key or version")
)

// API serves requests. Safe for concurrent use.
type API struct {
	admin  AdminDeps
	data   *dataState
	groups GroupDeps
	auth   Authorizer
	log    *slog.Logger
	met    *metrics
	auto   *autoCreator

	forwarding chan struct{} // slots for requests that are forwarded
}

// New returns an API that asks deps.
func New(deps Deps) *API {
	a := &API{
		admin:      deps.Admin,
		data:       newDataState(deps.Data),
		groups:     deps.Groups,
		auth:       deps.Authorizer,
		log:        deps.Logger,
		met:        newMetrics(deps.Registerer),
		forwarding: make(chan struct{}, maxForwarding),
	}
	a.auto = newAutoCreator(a.Serve, deps.Logger)
	return a
}

// Serve takes one request over and sees to it that it is finished. It implements server.Handler and
// is called by a connection's reader in the order of arrival; only changes of the cluster hold that up.
func (a *API) Serve(req *wire.Request) {
	req.Observer = a.met
	e, ok := entries[req.Key]
	if !ok || req.Version < e.min || req.Version > e.max {
		a.refuseVersion(req)
		return
	}
	if !a.allows(req, e) {
		req.Close(fmt.Errorf("%w: %s for %s", ErrUnauthorized, e.key.Name(), req.Conn.Principal))
		return
	}
	if e.kind == byController {
		if err := req.Check(); err != nil {
			req.Close(err)
			return
		}
		a.change(e, req)
		return
	}
	if err := req.Decode(); err != nil {
		req.Close(err)
		return
	}
	if e.kind == blocking {
		go a.aside(e, req, func(e entry, req *wire.Request) { e.serve(a, req) })
		return
	}
	e.serve(a, req)
}

// allows reports whether a request's principal may make it.
func (a *API) allows(req *wire.Request, e entry) bool {
	return a.auth == nil || a.auth.Authorize(req.Conn.Principal, req.Conn, e.key)
}

// errPanic closes the connection of a request that hit a bug of ours.
var errPanic = errors.New("internal error")

// change serves a request that the controller decides about. What the client sends next comes after it, as the protocol
// promises: it may be about the same thing. Whoever is stopped does not wait, nor holds the stopping up.
func (a *API) change(e entry, req *wire.Request) {
	done := make(chan struct{})
	stopping := req.Conn.Stopping
	go func() {
		defer close(done)
		a.aside(e, req, a.serveByController)
	}()
	select {
	case <-done:
	case <-stopping:
	}
}

// aside serves a request by fn on a goroutine of its own. As on the reader's, whose server sees to it,
// a bug ends the connection and not the process.
func (a *API) aside(e entry, req *wire.Request, fn func(entry, *wire.Request)) {
	defer func() {
		if p := recover(); p != nil {
			a.met.panics.Inc()
			a.log.Error("panic in request, closing its connection",
				"api", e.key.Name(), "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			req.Close(errPanic)
		}
	}()
	fn(e, req)
}

// refuseVersion closes the connection, as Kafka does, but for ApiVersions: its answer tells a newer
// client which versions to use.
func (a *API) refuseVersion(req *wire.Request) {
	if req.Key == kmsg.ApiVersions.Int16() {
		a.refuseApiVersions(req)
		return
	}
	req.Close(fmt.Errorf("%w: key %d (%s) v%d", ErrUnsupportedVersion, req.Key, kmsg.NameForKey(req.Key), req.Version))
}
