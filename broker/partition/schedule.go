package partition

import (
	"container/heap"
	"context"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"firn/segment"
)

const (
	// maintenanceWorkers is how many replicas are maintained at a time; sealing a segment waits for its disk.
	maintenanceWorkers = 4
	// maintenanceGap is the least time between two looks at one replica.
	maintenanceGap = 500 * time.Millisecond
	// usageInterval is how often the disks are asked how full they are. A disk that takes 2 GB/s fills 10 GB, the
	// lowest threshold, in as many seconds.
	usageInterval = 5 * time.Second
)

// scheduler decides when each replica is maintained: one heap of due times and one timer for the whole broker.
type scheduler struct {
	set  *Set
	wake chan struct{} // the first due time may have changed

	mu struct {
		sync.Mutex
		queue dueQueue
	}
}

// schedule is a replica's entry. The scheduler's lock guards it.
type schedule struct {
	due     time.Time
	looked  time.Time // when the last look began
	index   int       // in the heap, -1 if it is not there
	running bool
	kicked  bool // while it ran
	gone    bool
}

func newScheduler(s *Set) *scheduler {
	return &scheduler{set: s, wake: make(chan struct{}, 1)}
}

// add enters r, due at once.
func (c *scheduler) add(r *Replica) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r.schedule = schedule{due: time.Now(), index: -1}
	c.pushLocked(r)
}

// remove takes r out for good.
func (c *scheduler) remove(r *Replica) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r.schedule.gone = true
	if r.schedule.index >= 0 {
		heap.Remove(&c.mu.queue, r.schedule.index)
	}
}

// kick makes r due, but not before maintenanceGap has passed since the last look.
func (c *scheduler) kick(r *Replica) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := &r.schedule
	due := time.Now()
	if next := e.looked.Add(maintenanceGap); next.After(due) {
		due = next
	}
	switch {
	case e.running:
		e.kicked = true
	case e.index >= 0 && due.Before(e.due):
		e.due = due
		heap.Fix(&c.mu.queue, e.index)
		c.nudgeLocked(r)
	}
}

func (c *scheduler) pushLocked(r *Replica) {
	heap.Push(&c.mu.queue, r)
	c.nudgeLocked(r)
}

// nudgeLocked has the loop set its timer anew if r is first.
func (c *scheduler) nudgeLocked(r *Replica) {
	if r.schedule.index == 0 {
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
}

// next takes the first replica off if it is due, or returns how long nothing will be.
func (c *scheduler) next(now time.Time) (*Replica, time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.mu.queue) == 0 {
		return nil, time.Hour
	}
	r := c.mu.queue[0]
	if wait := r.schedule.due.Sub(now); wait > 0 {
		return nil, wait
	}
	heap.Pop(&c.mu.queue)
	r.schedule.running, r.schedule.looked = true, now
	return r, 0
}

// done puts r back after a look, due again after that long.
func (c *scheduler) done(r *Replica, after time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := &r.schedule
	if e.running = false; e.gone {
		return
	}
	if e.kicked {
		e.kicked, after = false, 0
	}
	e.due = e.looked.Add(max(after, maintenanceGap))
	c.pushLocked(r)
}

// Run does maintenance (rolling by age, local retention, producer expiry, disks that fill up) until ctx ends.
func (s *Set) Run(ctx context.Context) error {
	var group errgroup.Group
	group.SetLimit(maintenanceWorkers)
	defer func() { _ = group.Wait() }()
	timer, usage := time.NewTimer(0), time.NewTicker(usageInterval)
	defer timer.Stop()
	defer usage.Stop()
	levels := map[*segment.Disk]segment.Fullness{}
	s.watchDisks(levels)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-usage.C:
			s.watchDisks(levels)
			continue
		case <-s.sched.wake:
		case <-timer.C:
		}
		for {
			r, wait := s.sched.next(time.Now())
			if r == nil {
				timer.Reset(wait)
				break
			}
			group.Go(func() error {
				s.sched.done(r, r.maintain(s.opts.Now()))
				return nil
			})
			if ctx.Err() != nil {
				return nil
			}
		}
	}
}

// watchDisks has the replicas of a disk looked at when it gets fuller, and tells OnFullness of each change.
func (s *Set) watchDisks(levels map[*segment.Disk]segment.Fullness) {
	for _, d := range s.opts.Disks {
		u, err := d.Usage()
		if err != nil {
			if d.Offline() == nil {
				s.opts.Logger.Warn("disk usage is unknown", "dir", d.Dir(), "error", err)
			}
			continue
		}
		old := levels[d]
		if levels[d] = u.Fullness; u.Fullness == old {
			if u.Fullness >= segment.Low { // what is archived meanwhile may go
				s.kickDisk(d)
			}
			continue
		}
		s.opts.Logger.Info("disk fullness changed", "dir", d.Dir(), "free_bytes", u.Free, "total_bytes", u.Total, "level", u.Fullness)
		if s.opts.OnFullness != nil {
			s.opts.OnFullness(d, u.Fullness)
		}
		s.kickDisk(d)
	}
}

func (s *Set) kickDisk(d *segment.Disk) {
	for r := range s.All() {
		if r.disk == d {
			s.sched.kick(r)
		}
	}
}

// dueQueue is the heap.
type dueQueue []*Replica

func (q dueQueue) Len() int           { return len(q) }
func (q dueQueue) Less(i, j int) bool { return q[i].schedule.due.Before(q[j].schedule.due) }

func (q dueQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].schedule.index, q[j].schedule.index = i, j
}

// Push implements heap.Interface.
func (q *dueQueue) Push(x any) {
	r := x.(*Replica)
	r.schedule.index = len(*q)
	*q = append(*q, r)
}

// Pop implements heap.Interface.
func (q *dueQueue) Pop() any {
	old := *q
	r := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	r.schedule.index = -1
	return r
}
