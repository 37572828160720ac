package controller

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"firn/metadata"
	"firn/metadata/topic"
)

const (
	// retryPause is how long the controller waits after a commit that did not get through, unless the
	// image changes before.
	retryPause = 100 * time.Millisecond
	// verbTimeout bounds a verb whose context has no deadline; elections wait behind it.
	verbTimeout = 15 * time.Second
)

// Options configures a Controller.
type Options struct {
	Store *metadata.Store
	Lease *metadata.Lease
	// Defaults is what topic settings fall back to on this broker, run-time settings aside: its own
	// settings (flags, environment, file) and whether the cluster has object storage.
	Defaults topic.Defaults
	// NumPartitions and ReplicationFactor are for topics that do not say. Default 1.
	NumPartitions     int32
	ReplicationFactor int16
	// CheckBrokerSettings validates run-time broker settings as a whole after a change: those of one
	// broker, or of all if id is -1. Nil refuses every change of broker settings.
	CheckBrokerSettings func(id int32, overrides map[string]string) error
	// BrokerList returns the value a broker setting has without run-time settings, and whether it is a
	// list, which values can be appended to and subtracted from. Nil: none is.
	BrokerList func(name string) (value string, isList bool)
	// FenceTier returns a tier head (nil: there is none yet) as written under a leader epoch, which keeps writers of
	// earlier epochs from changing it. Nil: nothing is tiered.
	FenceTier func(head []byte, leaderEpoch int32) ([]byte, error)
	// BalanceInterval is how often leadership goes back to the preferred leaders of brokers that lead less than
	// they should; 0 is never. ImbalancePercent is how much less that is.
	BalanceInterval  time.Duration
	ImbalancePercent int32
	Logger           *slog.Logger
	Registerer       prometheus.Registerer
}

func (o *Options) ensureDefaults() {
	if o.NumPartitions == 0 {
		o.NumPartitions = 1
	}
	if o.ReplicationFactor == 0 {
		o.ReplicationFactor = 1
	}
	if o.CheckBrokerSettings == nil {
		o.CheckBrokerSettings = func(int32, map[string]string) error { return ErrConfig }
	}
	if o.BrokerList == nil {
		o.BrokerList = func(string) (string, bool) { return "", false }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

// Controller runs elections and topic changes while its broker is the controller. The verbs may be called
// from any goroutine; they return when the change is committed and in the store's image.
type Controller struct {
	opts    Options
	store   *metadata.Store
	keys    metadata.Keys
	log     *slog.Logger
	metrics *controllerMetrics
	jobs    chan job
	ended   chan struct{} // closed when Run returns

	active atomic.Bool
	term   *term // nil unless active; Run's goroutine only
}

// term is one controllership.
type term struct {
	epoch int64
	// seen is the image up to which everything has been acted on; nil at first, so that a new controller
	// looks at everything.
	seen *metadata.Image
	// again says that something planned on seen or later was not committed, so that everything must be
	// looked at once more.
	again bool
	// shards says that shards may need other owners.
	shards bool
	// lingering are keys of what was not there, a topic's name or settings, that an attempt to make it may still be under way for,
	// though its outcome is known from a later one: it would make that once more if it came to be gone.
	lingering map[string]struct{}
	// balanceAt is when leadership is balanced next.
	balanceAt time.Time
}

// job is a verb's work, run by Run's goroutine with the present term, or nil if there is none, until Run's context ends.
type job struct {
	run  func(context.Context, *term)
	done chan struct{}
}

// New returns a controller that does nothing before Run.
func New(opts Options) (*Controller, error) {
	if opts.Store == nil || opts.Lease == nil {
		return nil, errors.New("controller: Store and Lease are required")
	}
	opts.ensureDefaults()
	c := &Controller{
		opts: opts, store: opts.Store, keys: opts.Store.Keys(), log: opts.Logger,
		metrics: newControllerMetrics(opts.Registerer), jobs: make(chan job), ended: make(chan struct{}),
	}
	watchHealth(opts.Registerer, c.health)
	return c, nil
}

// Active reports whether this broker is the controller, as far as it knows.
func (c *Controller) Active() bool { return c.active.Load() }

// Current returns which broker is the controller, once that is known.
//
// Errors: ErrNotController if nobody campaigns here any more, and metadata.ErrUnavailable.
func (c *Controller) Current(ctx context.Context) (id int32, err error) {
	err = c.do(ctx, func(_ context.Context, t *term) {
		if id = c.opts.Lease.ID(); t == nil {
			id = c.store.Image().Controller().ID
		}
	})
	return id, err
}

// Run campaigns, and acts while elected, until ctx ends. It must be called once.
func (c *Controller) Run(ctx context.Context) error {
	defer close(c.ended)
	defer c.resign()
	changed := make(chan struct{}, 1)
	stop := c.store.Subscribe(func(_, _ *metadata.Image) {
		select {
		case changed <- struct{}{}:
		default:
		}
	})
	defer stop()
	for ctx.Err() == nil {
		epoch, registered := c.opts.Lease.Changed()
		next := c.step(ctx, epoch)
		var jobs chan job // only once it is known who the controller is
		if other := c.store.Image().Controller().ID; c.term != nil || other >= 0 && other != c.opts.Lease.ID() {
			jobs = c.jobs
		}
		var again <-chan time.Time
		if next != whenChanged {
			again = time.After(next)
		}
		select {
		case <-ctx.Done():
		case <-changed:
		case <-registered:
		case <-again:
		case j := <-jobs:
			j.run(ctx, c.term)
			close(j.done)
		}
	}
	return nil
}

// whenChanged says that there is nothing to do until something changes.
const whenChanged time.Duration = -1

// step brings the controllership and what follows from it nearer to the newest image. It returns when to go on.
func (c *Controller) step(ctx context.Context, brokerEpoch int64) time.Duration {
	img := c.store.Image()
	ctl := img.Controller()
	switch {
	case ctl.ID == c.opts.Lease.ID() && ctl.BrokerEpoch == brokerEpoch:
		if c.term == nil || c.term.epoch != ctl.Epoch {
			c.term = &term{epoch: ctl.Epoch, balanceAt: time.Now().Add(c.opts.BalanceInterval)}
			c.active.Store(true)
			c.metrics.active.Set(1)
			c.log.Info("became controller", "epoch", ctl.Epoch)
		}
		return c.reconcile(ctx, img)
	case ctl.ID >= 0:
		c.resign()
		return whenChanged
	}
	c.resign()
	epoch, err := c.opts.Lease.Campaign(ctx)
	if err == nil {
		if _, err = c.store.WaitRev(ctx, epoch); err == nil {
			return c.step(ctx, brokerEpoch)
		}
	}
	// A registration that is over is made anew, or this broker is about to stop.
	if ctx.Err() == nil && !errors.Is(err, metadata.ErrConflict) && !errors.Is(err, metadata.ErrFenced) {
		c.log.Warn("campaign for controller", "error", err)
	}
	return retryPause
}

func (c *Controller) resign() {
	if c.term != nil {
		c.log.Info("no longer controller", "epoch", c.term.epoch)
	}
	c.term = nil
	c.active.Store(false)
	c.metrics.active.Set(0)
}

// do runs fn in Run's goroutine, once it is known who the controller is. fn gets nil if it is not us.
func (c *Controller) do(ctx context.Context, fn func(context.Context, *term)) error {
	ctx, cancel := context.WithTimeout(ctx, verbTimeout)
	defer cancel()
	j := job{done: make(chan struct{}), run: func(running context.Context, t *term) {
		defer context.AfterFunc(running, cancel)() // a broker that stops waits for no etcd that is away
		fn(ctx, t)
	}}
	select {
	case c.jobs <- j:
		<-j.done
		return nil
	case <-c.ended:
		return ErrNotController
	case <-ctx.Done():
		return errors.Join(metadata.ErrUnavailable, context.Cause(ctx))
	}
}
