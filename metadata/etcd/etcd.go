// Package etcd is metadata.KV on etcd v3: a cluster elsewhere (Dial), or a one-member server inside this
// process that listens on a unix socket in the data directory and on no port (Embed).
package etcd

import (
	"context"
	"crypto/tls"
	"log/slog"
	"time"

	"firn/metadata"
)

// Config says how to reach an etcd cluster.
type Config struct {
	Endpoints []string // host:port, http://…, https://…, unix:///path
	Username  string
	Password  string
	TLS       *tls.Config
	// RequestTimeout bounds a call whose context has no deadline. Default 5 s.
	RequestTimeout time.Duration
	Logger         *slog.Logger
}

// Dial returns a KV on the cluster. It connects lazily: an etcd that is away shows in the first call.
func Dial(cfg Config) (metadata.KV, error) { panic("unwritten") }

// Server is an etcd in this process.
type Server struct{}

// Embed starts a one-member etcd with its data in dir and waits until it serves.
func Embed(ctx context.Context, dir string, logger *slog.Logger) (*Server, error) {
	panic("unwritten")
}

// Dial returns a KV on the server, over a connection of its own. Close every KV before the server.
func (s *Server) Dial() (metadata.KV, error) { panic("unwritten") }

// Endpoint returns the server's unix socket as an endpoint.
func (s *Server) Endpoint() string { panic("unwritten") }

// Close stops the server and waits for it.
func (s *Server) Close() error { panic("unwritten") }
