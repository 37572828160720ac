package api

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/wire"
	"firn/broker/wire/wiretest"
)

// discard is a sink that waits for each outcome only.
type discard struct{ done chan struct{} }

func (d discard) Deliver(_ *wire.Request, body *wire.Body) {
	if body != nil {
		body.Release()
	}
	d.done <- struct{}{}
}

func (d discard) Fail(_ *wire.Request, err error) { panic(err) }

// BenchmarkServe is what a request costs between its frame and its response, memory for a disk.
func BenchmarkServe(b *testing.B) {
	for _, name := range []string{"produce", "fetch"} {
		b.Run(name, func(b *testing.B) {
			d := newDataTest(b)
			d.fill("a", 0, 1)
			var req kmsg.Request = d.produceRequest(9, -1, oneBatch(b, 1, nil), "a", 0)
			if name == "fetch" {
				req = d.fetchRequest(12, "a", 0, 0)
			}
			conn, sink := wiretest.NewConn(b), discard{make(chan struct{}, 1)}
			raw := kmsg.NewRequestFormatter().AppendRequest(nil, req, 7)[4:]
			b.ReportAllocs()
			for b.Loop() {
				d.api.Serve(wiretest.NewRawRequest(b, conn, sink, raw))
				<-sink.done
			}
		})
	}
}
