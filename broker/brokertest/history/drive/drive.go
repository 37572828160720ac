// Package drive makes a history of a real cluster: idempotent producers, consumers of assigned partitions and members of a
// group that commit work at a topic while somebody does things to the brokers, and at the end everything is read back.
//
// What belongs here: clients, and what each of their calls is in a history. What does not: brokers, networks and
// faults, which are the caller's, and the verdict, which is package history's. A driver needs nothing but addresses, so it
// works the same against one broker or many, in this network namespace or, with a dialer, in another.
package drive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"firn/broker/brokertest/history"
)

// Options say what works at a cluster. The topic must exist and be nobody else's.
type Options struct {
	Bootstrap  []string // host:port
	Topic      string
	Partitions int32
	Group      string // of the members; nobody else may be in it or have been

	Producers int // each its own idempotent producer with several requests under way
	Readers   int // each reads all partitions, from positions of its own choosing
	Members   int // each reads what the group gives it and commits that

	// Racks are where consumers say that they stand, one after the other in turn; with none they do not say.
	Racks []string

	Gap         time.Duration // between two records of one producer; with 0 there is none
	RecordBytes int           // at most, beside a head of 16
	// Lifetime is the mean of clients, which then crash, or end well, and begin anew as other processes; with 0 they live
	// on. Members live for two sessions more, or their group would never settle.
	Lifetime time.Duration
	Session  time.Duration // after which what a member that crashed had is given to others; 6 s if 0

	Seed    uint64    // of sizes, positions and lifetimes
	Library Library   // of producers, readers and members; franz-go if nil
	Client  []kgo.Opt // of franz-go, which observes in any case
	Lines   io.Writer // gets the history as lines, unless nil
}

// Driver is clients at work. Its methods may be called concurrently, but for Stop and Close.
type Driver struct {
	o       Options
	rec     *history.Recorder
	process atomic.Int32
	acked   atomic.Int64
	polled  atomic.Int64 // by members

	producing context.CancelFunc
	consuming context.CancelFunc
	producers sync.WaitGroup
	consumers sync.WaitGroup
	abandon   context.Context // ends what Stop has no more time for
	quit      context.CancelFunc
	drains    atomic.Bool // no consumer's time is up any more

	mu struct {
		sync.Mutex
		next []int64           // by partition, the offset after the highest that is known to be acknowledged or was read
		at   map[int32][]int64 // of readers that are at work, and theGroup, up to where they have read
		err  error             // the first that is not the cluster's doing
	}
}

// maxInFlight bounds the records of one producer that are not acknowledged yet.
const maxInFlight = 500

// Start begins the work.
func Start(o Options) *Driver {
	o.RecordBytes, o.Session = cmp.Or(o.RecordBytes, 1000), cmp.Or(o.Session, 6*time.Second)
	names := make([]string, o.Partitions)
	for p := range names {
		names[p] = o.Topic + "-" + strconv.Itoa(p)
	}
	d := &Driver{o: o, rec: history.NewRecorder(names, o.Lines)}
	if o.Library == nil {
		d.o.Library = franz{&d.o, &atomic.Int32{}}
	}
	d.mu.next, d.mu.at = make([]int64, o.Partitions), map[int32][]int64{}
	if o.Members > 0 {
		d.reads(theGroup, nil)
	}
	producing, stopProducing := context.WithCancel(context.Background())
	consuming, stopConsuming := context.WithCancel(context.Background())
	d.producing, d.consuming = stopProducing, stopConsuming
	d.abandon, d.quit = context.WithCancel(context.Background())
	workers := uint64(0)
	start := func(ctx context.Context, running *sync.WaitGroup, n int, longer time.Duration, work func(context.Context, *lifetime) error) {
		for range n {
			workers++
			rng := rand.New(rand.NewPCG(o.Seed, workers))
			running.Go(func() { d.lives(ctx, rng, longer, work) })
		}
	}
	start(producing, &d.producers, o.Producers, 0, d.produce)
	start(consuming, &d.consumers, o.Readers, 0, d.read)
	start(consuming, &d.consumers, o.Members, 2*o.Session, d.member)
	start(consuming, &d.consumers, min(o.Members, 1), 0, d.observe)
	return d
}

// lifetime is one client, which is one process of the history.
type lifetime struct {
	process int32
	rng     *rand.Rand
	ends    context.Context // when it is to crash or to stop
}

// crashes says how a client ends: badly if it is not to stop, but for every other whose time is only up.
func (l *lifetime) crashes(ctx context.Context) bool {
	return ctx.Err() == nil && (l.ends.Err() == nil || l.rng.IntN(2) == 0)
}

// lives lets one client after the other work until ctx ends, each longer by so much.
func (d *Driver) lives(ctx context.Context, rng *rand.Rand, longer time.Duration, work func(context.Context, *lifetime) error) {
	for ctx.Err() == nil {
		long := time.Duration(1<<63 - 1)
		if d.o.Lifetime > 0 {
			long = longer + d.o.Lifetime/2 + time.Duration(rng.Int64N(int64(d.o.Lifetime)))
		}
		ends, end := context.WithCancel(ctx)
		isUp := time.AfterFunc(long, func() {
			if !d.drains.Load() {
				end()
			}
		})
		l := &lifetime{process: d.process.Add(1), rng: rng, ends: ends}
		err := work(ctx, l)
		isUp.Stop()
		end()
		d.rec.Complete(d.rec.Invoke(history.Op{Process: l.process, Func: history.Crash}), history.Op{})
		if err != nil {
			d.fail(fmt.Errorf("process %d: %w", l.process, err))
			return
		}
	}
}

func (d *Driver) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mu.err == nil {
		d.mu.err = err
	}
}

// known notes that a partition has a record at an offset.
func (d *Driver) known(p history.Key, offset int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mu.next[p] = max(d.mu.next[p], offset+1)
}

// Acked is how many records have been acknowledged so far.
func (d *Driver) Acked() int64 { return d.acked.Load() }

// Polled is how many records members of the group have been given so far.
func (d *Driver) Polled() int64 { return d.polled.Load() }

// Recorder is for what others see of the same partitions, whose keys are their numbers: copies and the tier.
func (d *Driver) Recorder() *history.Recorder { return d.rec }

// Process is a number for another process of the history.
func (d *Driver) Process() int32 { return d.process.Add(1) }

// Stop lets no more records be sent and waits until each that was sent is acknowledged, and until every reader and the group
// have read them, then ends the consumers. If ctx ends first it cuts off what is left, and says so.
func (d *Driver) Stop(ctx context.Context) error {
	d.producing()
	defer d.quit()
	done := make(chan struct{})
	var late error
	go func() {
		defer close(done)
		d.producers.Wait()
		if !d.drains.Load() { // or an earlier Stop has ended them
			late = d.catchUp(ctx)
		}
		d.consuming()
		d.consumers.Wait()
	}()
	select {
	case <-done:
	case <-ctx.Done():
		d.quit()
		d.consuming()
		<-done
		return fmt.Errorf("clients of %s did not come to an end: %w", d.o.Topic, errors.Join(ctx.Err(), late))
	}
	if late != nil {
		return fmt.Errorf("clients of %s did not come to an end: %w", d.o.Topic, late)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mu.err
}

// Judge stops the work, reads everything once more and judges the history.
func (d *Driver) Judge(ctx context.Context) (*history.Report, error) {
	if err := d.Stop(ctx); err != nil {
		return nil, err
	}
	_, unread := d.ReadAll(ctx, "in the end")
	h, err := d.Close()
	if err := errors.Join(unread, err); err != nil {
		return nil, err
	}
	return history.Check(h), nil
}

// Close ends whatever still works and returns the history.
func (d *Driver) Close() (*history.History, error) {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	stopped := d.Stop(ended)
	if errors.Is(stopped, context.Canceled) {
		stopped = nil // as it is after a Stop that went well, or meant
	}
	h, err := d.rec.Close()
	return h, errors.Join(stopped, err)
}
