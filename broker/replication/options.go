package replication

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"firn/broker/quota"
)

// Options say how Fetchers work. BrokerEpoch and Dial are needed.
type Options struct {
	BrokerID int32
	// BrokerEpoch is this broker's epoch at the moment.
	BrokerEpoch func() int64
	// Dial connects to a broker, which may have moved since the last time.
	Dial func(ctx context.Context, broker int32) (net.Conn, error)

	// Fetchers is how many connections there are to each leader (num.replica.fetchers); 1.
	Fetchers int
	// MaxBytes bounds one answer (replica.fetch.response.max.bytes) and PartitionBytes what it has of one partition
	// (replica.fetch.max.bytes), but for a first batch that is larger; 4 MiB less a margin for the rest of the
	// message, so that it fits a pooled buffer, and 1 MiB.
	MaxBytes, PartitionBytes int
	// MaxWait is how long a leader keeps a fetch (replica.fetch.wait.max.ms); 500 ms.
	MaxWait time.Duration
	// Timeout is how long an answer may take beyond that, and anything else on a connection
	// (replica.socket.timeout.ms); 30 s.
	Timeout time.Duration
	// Backoff is the longest pause before what failed is tried again (replica.fetch.backoff.ms); 1 s. The first
	// pauses are shorter: when leaders change, brokers hear of it at different times.
	Backoff time.Duration

	// Throttle is what is fetched of throttled replicas that are not in sync (follower.replication.throttled.rate); nil is all
	// there is.
	Throttle *quota.Rate

	Logger     *slog.Logger          // nil discards
	Registerer prometheus.Registerer // nil for none
}

// minBackoff is the first pause.
const minBackoff = 20 * time.Millisecond

// EnsureDefaults fills in what is zero.
func (o *Options) EnsureDefaults() {
	orDefault(&o.Fetchers, 1)
	orDefault(&o.MaxBytes, 4<<20-64<<10)
	orDefault(&o.PartitionBytes, 1<<20)
	orDefault(&o.MaxWait, 500*time.Millisecond)
	orDefault(&o.Timeout, 30*time.Second)
	orDefault(&o.Backoff, time.Second)
	if o.Throttle == nil {
		o.Throttle = &quota.Rate{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

func orDefault[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// Validate reports what cannot work.
func (o *Options) Validate() error {
	if o.BrokerEpoch == nil || o.Dial == nil {
		return errors.New("replication: BrokerEpoch and Dial are needed")
	}
	if o.Fetchers < 0 || o.MaxBytes < 0 || o.PartitionBytes < 0 || o.MaxWait < 0 || o.Timeout < 0 || o.Backoff < 0 {
		return errors.New("replication: negative limit")
	}
	return nil
}
