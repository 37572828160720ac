package s3bucket

import (
	"net"
	"net/http"
	"time"
)

// silence is how long the network may lose all packets of a connection before it is given up and another is tried. It
// is longer than a store on a busy machine takes to acknowledge bytes, and short beside an upload's own limit.
const silence = 10 * time.Second

// NewTransport returns the HTTP transport for one bucket: many long-lived connections to one host.
func NewTransport() *http.Transport {
	dialer := &net.Dialer{
		Timeout: 5 * time.Second,
		// A network that loses packets tells nobody: what waits for an answer asks whether the other side is there...
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: silence / 2, Interval: silence / 4, Count: 2},
		// ... and what was sent and stays unacknowledged ends the connection, not a quarter of an hour later.
		Control: limitUnacknowledged,
	}
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         dialer.DialContext,
		TLSHandshakeTimeout: 10 * time.Second,
		// A store that took a request answers within this or is taken for gone. Putting together
		// a large object in parts is the slowest of them.
		ResponseHeaderTimeout: 60 * time.Second,
		ExpectContinueTimeout: time.Second,
		IdleConnTimeout:       60 * time.Second,
		// Uploads and cold readers come and go in numbers; a new TLS connection costs round trips.
		MaxIdleConns:        128,
		MaxIdleConnsPerHost: 128,
		// Objects are large: fewer, larger system calls.
		WriteBufferSize: 128 << 10,
		ReadBufferSize:  64 << 10,
		// An object is bytes; nobody may decompress it on the way.
		DisableCompression: true,
	}
}
