package objtest

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"sync"
	"testing"
)

// proxy stands between a driver and a real store and spoils what passes.
type proxy struct {
	*httptest.Server
	forward *httputil.ReverseProxy

	mu    sync.Mutex
	spoil func(w http.ResponseWriter, r *http.Request) bool // true if it answered the request itself
	count map[string]int
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{count: map[string]int{}}
	p.forward = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(u)
			r.Out.Host = r.In.Host // it is part of the signature
		},
		Transport:    &http.Transport{DisableCompression: true, DisableKeepAlives: true},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

// ServeHTTP implements http.Handler.
func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.count[kind(r)]++
	spoil := p.spoil
	p.mu.Unlock()
	if spoil == nil || !spoil(w, r) {
		p.forward.ServeHTTP(w, r)
	}
}

// set replaces what spoils requests; nil lets all pass. The counts begin anew.
func (p *proxy) set(spoil func(http.ResponseWriter, *http.Request) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.spoil, p.count = spoil, map[string]int{}
}

// seen returns how many requests of a kind came since set.
func (p *proxy) seen(kind string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count[kind]
}

// kind names an S3 request.
func kind(r *http.Request) string {
	q := r.URL.Query()
	switch {
	case r.Method == http.MethodGet && q.Has("list-type"):
		return "list"
	case r.Method == http.MethodPost && q.Has("delete"):
		return "delete"
	case r.Method == http.MethodPost && q.Has("uploads"):
		return "create"
	case r.Method == http.MethodPost && q.Has("uploadId"):
		return "complete"
	case r.Method == http.MethodDelete && q.Has("uploadId"):
		return "abort"
	case r.Method == http.MethodPut && q.Has("partNumber"):
		return "part"
	case r.Method == http.MethodPut:
		return "put"
	case r.Method == http.MethodHead:
		return "head"
	}
	return "get"
}

// on spoils requests of one kind only.
func on(want string, spoil func(http.ResponseWriter, *http.Request) bool) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool { return kind(r) == want && spoil(w, r) }
}

// times spoils the first n requests only.
func times(n int, spoil func(http.ResponseWriter, *http.Request) bool) func(http.ResponseWriter, *http.Request) bool {
	var mu sync.Mutex
	return func(w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		hit := n > 0
		n--
		mu.Unlock()
		return hit && spoil(w, r)
	}
}

// timesEach spoils the first n requests of each kind.
func timesEach(n int, spoil func(http.ResponseWriter, *http.Request) bool) func(http.ResponseWriter, *http.Request) bool {
	var mu sync.Mutex
	seen := map[string]int{}
	return func(w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		seen[kind(r)]++
		hit := seen[kind(r)] <= n
		mu.Unlock()
		return hit && spoil(w, r)
	}
}

// refuse answers as S3 does.
func refuse(status int, code string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)
		if r.Method != http.MethodHead {
			fmt.Fprintf(w, `<?xml version="1.0"?><Error><Code>%s</Code><Message>as the test wants</Message></Error>`, code)
		}
		return true
	}
}

// drop closes the connection before the store sees the request.
func drop(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }

// loseReply lets the store do what is asked and closes the connection then.
func (p *proxy) loseReply(_ http.ResponseWriter, r *http.Request) bool {
	p.forward.ServeHTTP(httptest.NewRecorder(), r)
	panic(http.ErrAbortHandler)
}

// cutReply sends the head of the store's answer and n bytes of its body, then ends the connection, with
// a reset or as if all were sent.
func (p *proxy) cutReply(n int, reset bool) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		rec := httptest.NewRecorder()
		p.forward.ServeHTTP(rec, r)
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "HTTP/1.1 %d %s\r\n", rec.Code, http.StatusText(rec.Code))
		rec.Header().Set("Content-Length", strconv.Itoa(rec.Body.Len()))
		_ = rec.Header().Write(conn)
		_, _ = io.WriteString(conn, "\r\n")
		_, _ = conn.Write(rec.Body.Bytes()[:n])
		if reset {
			_ = conn.(*net.TCPConn).SetLinger(0)
		}
		return true
	}
}

// flip changes one bit of the request's body on its way to the store.
func (p *proxy) flip(w http.ResponseWriter, r *http.Request) bool {
	r.Body = &flippedBody{ReadCloser: r.Body, at: 1000}
	p.forward.ServeHTTP(w, r)
	return true
}

type flippedBody struct {
	io.ReadCloser
	at int
}

func (b *flippedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.at >= 0 && b.at < n {
		p[b.at] ^= 1
	}
	b.at -= n
	return n, err
}
