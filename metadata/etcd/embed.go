package etcd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.etcd.io/etcd/server/v3/embed"

	"firn/metadata"
)

// ErrInUse says that another process serves the data directory.
var ErrInUse = errors.New("etcd: data directory is in use")

const (
	// One member needs no time to find out about others: it serves 33 ms after an empty start with these
	// timings, and 220 ms after it with etcd's own.
	embedTick     = 10 * time.Millisecond
	embedElection = 100 * time.Millisecond
	// embedQuota is the most that etcd's authors suggest; the default is 2 GiB.
	embedQuota = 8 << 30
	// embedHistory is how long old revisions are kept, so that what is written over gives its space back for good. A
	// watch that was away for longer lists anew.
	embedHistory = 5 * time.Minute
	// Raft entries kept in memory for members that lag, of which there are none.
	embedSnapshot, embedCatchUp = 5000, 100
	// maxSocketPath is what every system we build for takes, less a little.
	maxSocketPath = 100
	embedName     = "firn"
)

// Server is an etcd in this process. Its data survives what etcd's does: every write is synced.
type Server struct {
	etcd     *embed.Etcd
	endpoint string
	history  time.Duration // embedHistory, but for tests
	logger   *slog.Logger
	cleanup  []func()
	once     sync.Once
}

// Embed starts a one-member etcd with its data in dir, which it makes if need be, and waits until it serves.
// It listens on unix sockets in dir and on nothing else. ErrInUse if another process serves dir.
func Embed(ctx context.Context, dir string, logger *slog.Logger) (*Server, error) {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("embed etcd: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("embed etcd: %w", err)
	}
	s := &Server{logger: logger, history: embedHistory}
	if err := s.start(ctx, dir); err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("embed etcd in %s: %w", dir, err)
	}
	return s, nil
}

func (s *Server) start(ctx context.Context, dir string) error {
	// etcd replaces a socket that is there and waits for its database's lock; ours comes first and fails.
	lock, err := lockFile(filepath.Join(dir, "LOCK"))
	if err != nil {
		return err
	}
	s.onClose(lock)
	sockets, err := s.socketDir(dir)
	if err != nil {
		return err
	}
	client := url.URL{Scheme: "unix", Path: filepath.Join(sockets, "client.sock")}
	peer := url.URL{Scheme: "unix", Path: filepath.Join(sockets, "peer.sock")}
	s.endpoint = "unix://" + client.Path

	cfg := embed.NewConfig()
	cfg.Name = embedName
	cfg.Dir = filepath.Join(dir, "data")
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	cfg.InitialCluster = cfg.InitialClusterFromName(embedName)
	cfg.TickMs, cfg.ElectionMs = uint(embedTick.Milliseconds()), uint(embedElection.Milliseconds())
	cfg.QuotaBackendBytes = embedQuota
	cfg.AutoCompactionMode, cfg.AutoCompactionRetention = embed.CompactorModePeriodic, s.history.String()
	cfg.SnapshotCount, cfg.SnapshotCatchUpEntries = embedSnapshot, embedCatchUp
	cfg.EnableGRPCGateway = false
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(newZap(s.logger))
	if s.etcd, err = embed.StartEtcd(cfg); err != nil {
		return err
	}
	select {
	case <-s.etcd.Server.ReadyNotify():
		return nil
	case err := <-s.etcd.Err():
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *Server) onClose(c io.Closer) {
	s.cleanup = append(s.cleanup, func() { _ = c.Close() })
}

// socketDir returns a name for dir that is short enough for a socket in it to be named: dir itself, or a
// symbolic link to it.
func (s *Server) socketDir(dir string) (string, error) {
	if len(dir)+len("/client.sock") <= maxSocketPath {
		return dir, nil
	}
	tmp, err := os.MkdirTemp("", "firn-")
	if err != nil {
		return "", err
	}
	s.cleanup = append(s.cleanup, func() { _ = os.RemoveAll(tmp) })
	link := filepath.Join(tmp, "etcd")
	if err := os.Symlink(dir, link); err != nil {
		return "", err
	}
	return link, nil
}

// Dial returns a KV on the server, over a connection of its own. Close every KV before the server.
func (s *Server) Dial() (metadata.KV, error) {
	return Dial(Config{Endpoints: []string{s.endpoint}, Logger: s.logger})
}

// Endpoint returns the server's unix socket as an endpoint.
func (s *Server) Endpoint() string { return s.endpoint }

// Close stops the server and waits for it. KVs that are still open make it take seconds.
func (s *Server) Close() error {
	s.once.Do(func() {
		if s.etcd != nil {
			s.etcd.Close()
		}
		for i := len(s.cleanup) - 1; i >= 0; i-- {
			s.cleanup[i]()
		}
	})
	return nil
}
