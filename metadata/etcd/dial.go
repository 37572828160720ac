package etcd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"firn/metadata"
)

const (
	defaultRequestTimeout = 5 * time.Second
	// With gRPC's own back-off (up to 120 s between attempts) a lease was gone 17 s after etcd had come
	// back from a minute away; with this it is renewed 0.2 s after.
	minReconnect = 50 * time.Millisecond
	maxReconnect = 500 * time.Millisecond
	// connectTimeout bounds one attempt to connect, handshake included.
	connectTimeout = 2 * time.Second
	// keepAliveTime is the least gRPC takes, and etcd takes pings only while a stream is open.
	// keepAliveTimeout is also the TCP user timeout: bytes that nobody acknowledges for that long end the
	// connection.
	keepAliveTime    = 10 * time.Second
	keepAliveTimeout = 2 * time.Second
)

// Config says how to reach an etcd cluster.
type Config struct {
	Endpoints []string // host:port, http://…, https://…, unix:///path
	Username  string
	Password  string
	TLS       *tls.Config
	// RequestTimeout bounds each call, whatever time its context leaves. Default 5 s.
	RequestTimeout time.Duration
	Logger         *slog.Logger // nil: none

	quiet time.Duration // defaultQuiet, but for tests
}

func (c *Config) ensureDefaults() error {
	if len(c.Endpoints) == 0 {
		return errors.New("etcd endpoints: want at least one")
	}
	if c.RequestTimeout == 0 {
		c.RequestTimeout = defaultRequestTimeout
	}
	if c.quiet == 0 {
		c.quiet = defaultQuiet
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// kv is one client of an etcd cluster, with one connection per endpoint.
type kv struct {
	client  *clientv3.Client
	leases  pb.LeaseClient // KeepAliveOnce of the client spins while etcd is away
	timeout time.Duration
	quiet   time.Duration // see defaultQuiet
}

var _ metadata.KV = (*kv)(nil)

// Dial returns a KV on the cluster. It connects lazily: an etcd that is away shows in the first call, but for
// a cluster with users, where a token must be had first.
func Dial(cfg Config) (metadata.KV, error) {
	if err := cfg.ensureDefaults(); err != nil {
		return nil, err
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints:            cfg.Endpoints,
		Username:             cfg.Username,
		Password:             cfg.Password,
		TLS:                  cfg.TLS,
		DialTimeout:          cfg.RequestTimeout,
		DialKeepAliveTime:    keepAliveTime,
		DialKeepAliveTimeout: keepAliveTimeout,
		Logger:               newZap(cfg.Logger),
		DialOptions: []grpc.DialOption{
			grpc.WithConnectParams(grpc.ConnectParams{
				Backoff:           backoff.Config{BaseDelay: minReconnect, Multiplier: 1.6, Jitter: 0.2, MaxDelay: maxReconnect},
				MinConnectTimeout: connectTimeout,
			}),
			grpc.WithStatsHandler(callHandler{}),
		},
	})
	if err != nil {
		return nil, fmt.Errorf("dial etcd at %v: %w", cfg.Endpoints, classify(err, false))
	}
	return &kv{
		client:  client,
		leases:  pb.NewLeaseClient(client.ActiveConnection()),
		timeout: cfg.RequestTimeout,
		quiet:   cfg.quiet,
	}, nil
}

// Close implements metadata.KV.
func (k *kv) Close() error {
	if err := k.client.Close(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("close etcd client: %w", err)
	}
	return nil
}

// bound gives a call its time.
func (k *kv) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, k.timeout)
}
