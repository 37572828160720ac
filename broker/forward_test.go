package broker

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/metadata"
	"firn/metadata/memkv"
	"firn/segment/vfs"
)

// A change that waits for a controller which does not answer any more is given up once another is known: there are few places for
// such, and others wait behind it.
func TestNobodyWaitsForAControllerOfThePast(t *testing.T) {
	server := memkv.NewServer()
	h := startHost(t, server, 1, vfs.NewMem())
	defer h.stop()
	frozen := registerAt(t, server, 2, h.b.cfg.Replication.Listener)
	if _, err := frozen.Campaign(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "broker 2 is the controller", func() bool { return h.b.store.Image().Controller().ID == 2 })
	asked := make(chan struct{})
	h.b.world.Dial = func(context.Context, string, string) (net.Conn, error) {
		here, there := net.Pipe()
		t.Cleanup(func() { _ = there.Close() })
		go func() {
			_, _ = io.ReadFull(there, make([]byte, 4))
			close(asked)
			_, _ = io.Copy(io.Discard, there)
		}()
		return here, nil
	}
	outcome := make(chan error, 1)
	go func() {
		_, err := h.b.forward(t.Context(), 2, kmsg.NewPtrEnvelopeRequest())
		outcome <- err
	}()
	<-asked
	if err := frozen.Deregister(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another is the controller", func() bool {
		_, err := h.b.lease.Campaign(t.Context())
		return err == nil
	})
	select {
	case err := <-outcome:
		if !errors.Is(err, metadata.ErrUnknown) {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("it still waits")
	}
}

// registerAt registers a broker that can be reached at one listener, as far as others know.
func registerAt(t *testing.T, server *memkv.Server, id int32, listener string) *metadata.Lease {
	t.Helper()
	kv := server.Dial()
	t.Cleanup(func() { _ = kv.Close() })
	store, err := metadata.Open(t.Context(), kv, metadata.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	lease, err := store.Register(t.Context(), metadata.Registration{
		ID: id, Listeners: []metadata.Listener{{Name: listener, Protocol: "PLAINTEXT", Host: "broker", Port: 9092}},
		Disks: []metadata.DiskFacts{{ID: metadata.UUID{byte(id)}}},
	}, metadata.LeaseOptions{TTL: time.Hour, KV: kv})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lease.Close() })
	return lease
}
