package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A health check passes for a broker that is well and for no other, and prints what the broker says in both cases.
func TestHealth(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/healthz":
			_, _ = fmt.Fprint(w, "disks: ok\n")
		case "/readyz":
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = fmt.Fprint(w, "disks: ok\npartitions: 3 are being opened\n")
		default:
			http.NotFound(w, r)
		}
	}))
	addr := strings.TrimPrefix(srv.URL, "http://")
	if out := firn(t, "", "", "health", "--http", addr).ok(t); out != "disks: ok\n" {
		t.Errorf("got %q", out)
	}
	r := firn(t, "", "", "health", "--ready", "--http", addr)
	r.fails(t, exitError, "firn: the broker at "+addr+" is not ready\n")
	if r.out != "disks: ok\npartitions: 3 are being opened\n" {
		t.Errorf("got %q", r.out)
	}
	firn(t, "", "", "health", "--http", addr+"/elsewhere").fails(t, exitError, addr+" answers 404 Not Found, so it is no console")
	srv.Close()
	firn(t, "", "", "health", "--http", addr).fails(t, exitError, "no console answers at "+addr)
	firn(t, "", "", "health", "--http", "nowhere").fails(t, exitUsage, `--http "nowhere": want HOST:PORT`)
}
