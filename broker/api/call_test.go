package api

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/wire"
	"firn/broker/wire/wiretest"
)

// callTimeout is how long a test waits for a response on a busy machine.
const callTimeout = 30 * time.Second

// call sends req, whose version must be set, through the whole of a.Serve and returns the response,
// failing the test if the connection was closed or there was no response.
func call[R kmsg.Response](t testing.TB, a *API, req kmsg.Request) R {
	t.Helper()
	out := callOutcome(t, a, req)
	if out.Err != nil {
		t.Fatalf("%s v%d: connection closed: %v", kmsg.NameForKey(req.Key()), req.GetVersion(), out.Err)
	}
	if out.Response == nil {
		t.Fatalf("%s v%d: no response", kmsg.NameForKey(req.Key()), req.GetVersion())
	}
	return out.Response.(R)
}

// callOutcome sends req through a.Serve and returns what became of it.
func callOutcome(t testing.TB, a *API, req kmsg.Request) wiretest.Outcome {
	t.Helper()
	return callOn(t, a, wiretest.NewConn(t), req)
}

// callOn is callOutcome on a given connection.
func callOn(t testing.TB, a *API, conn *wire.Conn, req kmsg.Request) wiretest.Outcome {
	t.Helper()
	sink := wiretest.NewSink()
	a.Serve(wiretest.NewRequest(t, conn, sink, req))
	select {
	case out := <-sink.Outcomes:
		return out
	case <-time.After(callTimeout):
		t.Fatalf("%s v%d: no outcome", kmsg.NameForKey(req.Key()), req.GetVersion())
		return wiretest.Outcome{}
	}
}
