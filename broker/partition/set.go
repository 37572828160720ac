package partition

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"

	"firn/metadata/topic"
	"firn/segment"
)

// Set is the replicas this broker hosts. Safe for concurrent use.
type Set struct {
	opts      Options
	met       *metrics
	wheel     *wheel
	plug      plug
	cold      *coldTable
	sched     *scheduler
	producers atomic.Int64 // remembered by all replicas
	draining  atomic.Bool
	serving   context.Context // until Drain
	stop      context.CancelFunc

	shards [setShards]shard
	// placing serialises the choice of a disk for partitions that have none, and guards places and taken.
	placing sync.Mutex
	places  map[topic.Partition]*segment.Disk
	taken   map[*segment.Disk]int // places on each disk
}

// setShards keeps the look-up of each request from meeting all the others.
const setShards = 32

type shard struct {
	sync.RWMutex
	replicas map[topic.Partition]*Replica
	opening  map[topic.Partition]chan struct{} // closed when the Open under way has ended
}

// NewSet returns an empty Set. Run makes it do maintenance.
func NewSet(o Options) (*Set, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	s := &Set{opts: o, wheel: newWheel(), places: map[topic.Partition]*segment.Disk{}, taken: map[*segment.Disk]int{}}
	s.plug.init(s.wheel)
	s.serving, s.stop = context.WithCancel(context.Background())
	for i := range s.shards {
		s.shards[i].replicas = map[topic.Partition]*Replica{}
		s.shards[i].opening = map[topic.Partition]chan struct{}{}
	}
	for _, d := range o.Disks {
		refs, err := d.Partitions()
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", d.Dir(), err)
		}
		for _, ref := range refs {
			tp := topic.Partition{ID: ref.ID, Index: ref.Index}
			if other := s.places[tp]; other != nil {
				return nil, fmt.Errorf("partition %s is in %s and in %s", tp, other.Dir(), d.Dir())
			}
			s.takeLocked(tp, d)
		}
	}
	s.met = newMetrics(o.Registerer, s)
	s.cold = newColdTable(s)
	s.sched = newScheduler(s)
	return s, nil
}

func (s *Set) shard(tp topic.Partition) *shard {
	return &s.shards[(uint32(tp.ID[0])+uint32(tp.ID[15])+uint32(tp.Index))%setShards]
}

// Get returns the hosted replica of tp, nil if there is none.
func (s *Set) Get(tp topic.Partition) *Replica {
	sh := s.shard(tp)
	sh.RLock()
	defer sh.RUnlock()
	return sh.replicas[tp]
}

// All yields the hosted replicas in no particular order.
func (s *Set) All() iter.Seq[*Replica] {
	return func(yield func(*Replica) bool) {
		for i := range s.shards {
			for _, r := range s.shards[i].list() {
				if !yield(r) {
					return
				}
			}
		}
	}
}

func (sh *shard) list() []*Replica {
	sh.RLock()
	defer sh.RUnlock()
	out := make([]*Replica, 0, len(sh.replicas))
	for _, r := range sh.replicas {
		out = append(out, r)
	}
	return out
}

// Stored lists the partitions that have data on this broker's disks, hosted or not, and where.
func (s *Set) Stored() map[topic.Partition]*segment.Disk {
	s.placing.Lock()
	defer s.placing.Unlock()
	out := make(map[topic.Partition]*segment.Disk, len(s.places))
	for tp, d := range s.places {
		out[tp] = d
	}
	return out
}

// Open opens the local log of tp, creating or recovering it, and hosts it as a follower of nobody. It blocks for
// the recovery; calls for different partitions may and should run in parallel. An already hosted replica is returned
// as it is, unless it Reopens. If the log cannot be opened the replica is hosted nevertheless, answers everything with that error, and
// both are returned. name is the topic's, for the log.
func (s *Set) Open(tp topic.Partition, name string, c topic.Config) (*Replica, error) {
	sh := s.shard(tp)
	for {
		sh.Lock()
		r, busy := sh.replicas[tp], sh.opening[tp]
		again := r != nil && r.Reopens()
		if (r == nil || again) && busy == nil {
			sh.opening[tp] = make(chan struct{})
			delete(sh.replicas, tp)
		}
		sh.Unlock()
		if r != nil && !again {
			return r, r.failure()
		}
		if again && busy == nil {
			s.sched.remove(r)
		}
		if busy == nil {
			break
		}
		<-busy
	}
	r, err := s.open(tp, name, c)
	sh.Lock()
	defer sh.Unlock()
	close(sh.opening[tp])
	delete(sh.opening, tp)
	if r != nil {
		sh.replicas[tp] = r
		s.sched.add(r)
	}
	return r, err
}

func (s *Set) open(tp topic.Partition, name string, c topic.Config) (*Replica, error) {
	d, err := s.place(tp)
	if err != nil {
		return nil, err
	}
	r := &Replica{
		tp: tp, set: s, disk: d,
		producers: newProducers(func() int64 { return s.opts.Now().UnixMilli() }, &s.producers),
		logger:    s.opts.Logger.With("topic", name, "partition", tp.Index),
	}
	r.waiters.toldEpoch = -1
	r.configure(c)
	r.role.Store(&role{leader: -1, epoch: -1})
	r.log, err = d.Open(tp.ID, tp.Index, segment.Options{
		Settings:  settings(tp, c),
		Producers: r.producers,
		Elsewhere: s.opts.TierEnd(tp),
		NextEpoch: s.opts.NextEpoch(tp),
		OnDurable: r.onDurable,
		OnFailure: r.onFailure,
		Logger:    r.logger,
	})
	if err != nil {
		// Whatever is wrong with what is stored: to clients this is a disk that is away, not a bad request of theirs.
		s.met.storageErrors.Inc()
		r.log, r.broken = nil, fmt.Errorf("open %s: %w: %w", tp, ErrStorage, err)
		r.producers.Reset() // they would count for ever, and again at each try
		if errors.Is(err, segment.ErrCorrupt) {
			s.met.corruptions.Inc()
			r.damage.Store(&r.broken)
		}
		return r, r.broken
	}
	r.hw.Store(r.log.RecoveredHighWatermark())
	r.append.active, _, _ = r.log.Active()
	return r, nil
}

// place returns the disk that holds tp or is to hold it: of those that serve, the one with the fewest partitions.
func (s *Set) place(tp topic.Partition) (*segment.Disk, error) {
	s.placing.Lock()
	defer s.placing.Unlock()
	if d := s.places[tp]; d != nil {
		return d, nil
	}
	var best *segment.Disk
	for _, d := range s.opts.Disks {
		if d.Offline() == nil && (best == nil || s.taken[d] < s.taken[best]) {
			best = d
		}
	}
	if best == nil {
		return nil, fmt.Errorf("%w: no log directory is online", ErrStorage)
	}
	s.takeLocked(tp, best)
	return best, nil
}

func (s *Set) takeLocked(tp topic.Partition, d *segment.Disk) {
	s.places[tp] = d
	s.taken[d]++
}

// Remove stops hosting tp and deletes its local data, hosted or not. Its waiters fail with why: ErrUnknownPartition, or ErrNotLeader
// where others have it.
func (s *Set) Remove(tp topic.Partition, why error) error {
	s.unhost(tp, why)
	s.placing.Lock()
	d := s.places[tp]
	if d != nil {
		delete(s.places, tp)
		s.taken[d]--
	}
	s.placing.Unlock()
	if d == nil {
		return nil
	}
	if err := d.Remove(tp.ID, tp.Index); err != nil {
		s.placing.Lock()
		s.takeLocked(tp, d)
		s.placing.Unlock()
		return fmt.Errorf("remove %s: %w: %w", tp, ErrStorage, err)
	}
	return nil
}

// Release stops hosting tp and keeps its local data for the next Open. Its waiters fail with why, as those of Remove.
func (s *Set) Release(tp topic.Partition, why error) error {
	var err error
	if r := s.Get(tp); r != nil {
		err = r.close(why)
	}
	s.unhost(tp, why)
	if err != nil {
		return fmt.Errorf("release %s: %w: %w", tp, ErrStorage, err)
	}
	return nil
}

// SetAside stops hosting tp and puts its damaged log away, where it is kept for people; the next Open begins with nothing,
// on the same disk. The cluster must not count on the replica any more. After an error it may be called again.
func (s *Set) SetAside(tp topic.Partition) error {
	s.unhost(tp, ErrNotLeader)
	s.placing.Lock()
	d := s.places[tp]
	s.placing.Unlock()
	if d == nil {
		return nil
	}
	if err := d.SetAside(tp.ID, tp.Index); err != nil {
		return fmt.Errorf("set %s aside: %w: %w", tp, ErrStorage, err)
	}
	s.met.setAside.Inc()
	return nil
}

// unhost takes the replica of tp away, if there is one; its waiters fail with err.
func (s *Set) unhost(tp topic.Partition, err error) {
	sh := s.shard(tp)
	sh.Lock()
	r := sh.replicas[tp]
	delete(sh.replicas, tp)
	sh.Unlock()
	if r != nil {
		s.sched.remove(r)
		r.shut(err)
		r.producers.forget()
	}
}

// Drain answers all waiting fetches and lets no new one wait, nor wait for the tier's end who would start anew there; the broker
// is about to stop.
func (s *Set) Drain() {
	s.draining.Store(true)
	s.stop()
	for r := range s.All() {
		r.wakeFetches()
	}
}

// Close fails all waiters with ErrNotLeader and closes the logs, making them durable first; the disks stay open. Run
// must have returned.
func (s *Set) Close() error {
	s.Drain()
	s.cold.close()
	var errs []error
	for r := range s.All() {
		errs = append(errs, r.close(ErrNotLeader))
	}
	return errors.Join(errs...)
}

// registered reports whether this broker's registration under which ro leads surely stands. After another one it leads
// nothing until the metadata says so.
func (s *Set) registered(ro *role) bool {
	return s.opts.Lease == nil || s.opts.Lease.Holds(ro.brokerEpoch)
}

// kick has the maintenance loop look at r soon.
func (s *Set) kick(r *Replica) { s.sched.kick(r) }
