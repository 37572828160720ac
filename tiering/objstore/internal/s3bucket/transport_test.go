package s3bucket

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// A store that stops in the middle of an answer is not waited for without end. One that is slow is, and so is one whose answer
// nobody asks to go on.
func TestAnswerThatStops(t *testing.T) {
	for name, c := range map[string]struct {
		send  func(conn net.Conn)
		pause time.Duration // before it is read
		bytes int
		err   error
	}{
		"stops": {send: func(conn net.Conn) {
			_, _ = io.WriteString(conn, "xxxxx")
			_, _ = io.Copy(io.Discard, conn) // until it is closed
		}, bytes: 5, err: errStopped},
		"slow": {send: func(conn net.Conn) {
			for range 10 {
				time.Sleep(patience / 2)
				_, _ = io.WriteString(conn, "x")
			}
		}, bytes: 10},
		"not asked": {send: func(conn net.Conn) { _, _ = io.WriteString(conn, "xxxxxxxxxx") }, pause: 2 * patience, bytes: 10},
	} {
		synctest.Test(t, func(t *testing.T) {
			body, done := answerOf(t, c.send)
			defer done()
			time.Sleep(c.pause)
			began := time.Now()
			b, err := io.ReadAll(body)
			if len(b) != c.bytes || !errors.Is(err, c.err) || time.Since(began) > 6*patience {
				t.Errorf("%s: %d bytes, %v after %v", name, len(b), err, time.Since(began))
			}
		})
	}
}

// answerOf returns the body of an answer of ten bytes, which send sends.
func answerOf(t *testing.T, send func(net.Conn)) (body io.Reader, done func()) {
	t.Helper()
	ours, theirs := net.Pipe()
	served := make(chan struct{})
	go func() {
		defer close(served)
		defer theirs.Close()
		if _, err := http.ReadRequest(bufio.NewReader(theirs)); err == nil {
			_, _ = io.WriteString(theirs, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
			send(theirs)
		}
	}()
	tr := NewTransport()
	tr.DialContext = func(context.Context, string, string) (net.Conn, error) { return ours, nil }
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://store/k", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	return resp.Body, func() {
		_ = resp.Body.Close()
		cancel()
		tr.CloseIdleConnections()
		<-served
	}
}
