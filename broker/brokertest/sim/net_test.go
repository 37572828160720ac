package sim

import (
	"context"
	"errors"
	"io"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// pair is two hosts and a connection between them.
func pair(t *testing.T) (n *network, near, far io.ReadWriteCloser) {
	t.Helper()
	n = newNetwork(1)
	n.addHost("a")
	n.addHost("b")
	l, err := n.listen("b", "b:1")
	if err != nil {
		t.Fatal(err)
	}
	near, err = n.dial(t.Context(), "a", "b:1")
	if err != nil {
		t.Fatal(err)
	}
	far, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return n, near, far
}

// What is sent over a link that is down arrives, in its order, once it is up again, and the end after it.
func TestBytesWaitForTheirLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, near, far := pair(t)
		n.setLink("a", "b", true)
		for _, s := range []string{"one ", "two ", "three"} {
			if _, err := near.Write([]byte(s)); err != nil {
				t.Fatal(err)
			}
		}
		_ = near.Close()
		began := time.Now()
		time.AfterFunc(time.Hour, func() { n.setLink("a", "b", false) })
		got, err := io.ReadAll(far)
		if string(got) != "one two three" || err != nil || time.Since(began) < time.Hour {
			t.Errorf("%q, %v after %v", got, err, time.Since(began))
		}
		if _, err := far.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("write to who is gone: %v", err)
		}
	})
}

// A host without power answers nobody, and knows nothing of its connections when it is back.
func TestHostWithoutPowerIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, near, _ := pair(t)
		n.cutPower("b")
		_ = near.(*conn).SetReadDeadline(time.Now().Add(time.Minute))
		if _, err := near.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := n.dial(ctx, "a", "b:1"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("dial: %v", err)
		}
		n.on("b")
		_ = near.(*conn).SetReadDeadline(time.Time{})
		if _, err := near.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("read once it is back: %v", err)
		}
		if _, err := n.dial(t.Context(), "a", "b:1"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dial once it is back: %v", err)
		}
	})
}
