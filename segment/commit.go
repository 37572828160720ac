package segment

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// maxSyncs is how many files of a disk are synced at a time. The file system's journal makes one
// commit of syncs that meet; beyond 16 more of them only wait.
const maxSyncs = 16

// committer makes logs durable. A Commit on an idle committer starts at once; while maxSyncs syncs
// run, logs queue, and a log that is appended to meanwhile is synced once for all of it. Its
// goroutines live only while there is work.
type committer struct {
	mu struct {
		sync.Mutex
		queue   []*Log
		running int
	}
}

func (c *committer) add(l *Log) {
	c.mu.Lock()
	c.mu.queue = append(c.mu.queue, l)
	start := c.mu.running < maxSyncs
	if start {
		c.mu.running++
	}
	c.mu.Unlock()
	if start {
		go c.run()
	}
}

func (c *committer) run() {
	for {
		c.mu.Lock()
		if len(c.mu.queue) == 0 {
			c.mu.running--
			c.mu.Unlock()
			return
		}
		l := c.mu.queue[0]
		c.mu.queue[0] = nil
		c.mu.queue = c.mu.queue[1:]
		c.mu.Unlock()
		l.turn()
	}
}

// commitState is where a log is in its disk's committer. It is in the queue or in the hands of at most
// one goroutine, which is why its callbacks never overlap.
type commitState uint32

const (
	commitIdle commitState = iota
	commitQueued
	commitRunning
	commitAgain // running, and asked for once more
	commitDead  // closed, never to run again
)

// commits is a log's side of the committer.
type commits struct {
	state    atomic.Uint32
	reported int64         // last end given to OnDurable; the committer's goroutine only
	anew     atomic.Bool   // the log was cut: ends rise from there again
	failed   bool          // OnFailure was called; the committer's goroutine only
	drained  chan struct{} // closed when the log's last turn is over
}

// Commit asks for everything appended so far to be made durable. It does not wait: OnDurable tells.
func (l *Log) Commit() {
	for {
		switch commitState(l.commits.state.Load()) {
		case commitIdle:
			if l.commits.state.CompareAndSwap(uint32(commitIdle), uint32(commitQueued)) {
				l.disk.committer.add(l)
				return
			}
		case commitRunning:
			if l.commits.state.CompareAndSwap(uint32(commitRunning), uint32(commitAgain)) {
				return
			}
		default:
			return
		}
	}
}

// turn is the log's turn in the committer: sync once, report.
func (l *Log) turn() {
	l.commits.state.Store(uint32(commitRunning))
	if l.commits.anew.Swap(false) {
		l.commits.reported = -1
	}
	closing := l.closing.Load()
	if !closing {
		// An error has taken the disk offline and is reported below.
		_ = l.sync()
	}
	if err := l.disk.Offline(); err != nil {
		if !l.commits.failed && l.onFailure != nil {
			l.onFailure(err)
		}
		l.commits.failed = true
	} else if end := l.Durable(); end > l.commits.reported {
		l.commits.reported = end
		if l.onDurable != nil {
			l.onDurable(end)
		}
	}
	if closing {
		l.commits.state.Store(uint32(commitDead))
		close(l.commits.drained)
		return
	}
	if !l.commits.state.CompareAndSwap(uint32(commitRunning), uint32(commitIdle)) {
		l.commits.state.Store(uint32(commitQueued))
		l.disk.committer.add(l)
	}
}

// restartReports lets OnDurable speak of ends that it spoke of before, after the log was cut.
func (l *Log) restartReports() {
	l.commits.anew.Store(true)
	l.Commit()
}

// drain lets the callbacks that are due be called and forbids any more.
func (l *Log) drain() {
	l.closing.Store(true)
	l.Commit()
	<-l.commits.drained
}

// position is a place between two batches.
type position struct {
	base int64 // of the segment
	size int64 // bytes of it that lie before
	next int64 // offset that follows
}

// sync makes everything that was appended when it began durable, and only that is then reported so. A
// failed sync takes the disk offline before anyone else can sync this log, so that nobody takes a
// later success for proof of what the failed one dropped.
func (l *Log) sync() error {
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	return l.syncLocked()
}

func (l *Log) syncLocked() error {
	if err := l.disk.Offline(); err != nil {
		return err
	}
	v := l.view.Load()
	if v == nil {
		return ErrClosed
	}
	s := v.active
	next, size := s.bounds()
	if p := l.synced(); p.base == s.base && p.next >= next && !l.cutBack.Load() {
		return nil
	}
	l.cutBack.Store(false) // before the sync: what comes during it is for the next
	h, err := s.acquire()
	if err != nil {
		return err
	}
	defer h.unref()
	began := time.Now()
	err = h.log.Sync()
	l.disk.metrics.synced(time.Since(began), err)
	if err != nil {
		return l.disk.fail(fmt.Errorf("sync %s: %w", h.log.Name(), err))
	}
	l.setSynced(position{base: s.base, size: size, next: next})
	l.disk.armCheckpoint()
	return nil
}

// synced is the place up to which the log is durable.
func (l *Log) synced() position {
	l.pos.Lock()
	defer l.pos.Unlock()
	return l.pos.synced
}

// setSynced moves it; syncMu is held.
func (l *Log) setSynced(p position) {
	l.pos.Lock()
	l.pos.synced = p
	l.pos.Unlock()
	l.durable.Store(p.next)
}
