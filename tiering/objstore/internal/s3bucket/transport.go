package s3bucket

import (
	"net"
	"net/http"
	"time"
)

// NewTransport returns the HTTP transport for one bucket: many long-lived connections to one host.
func NewTransport() *http.Transport {
	dialer := &net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}
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
