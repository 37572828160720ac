package partition

import "sync/atomic"

// Watcher hears of what happens to a partition. Its methods are called with locks held: they must not block, nor set or
// stop a Watch.
type Watcher interface {
	// Grown says that n more bytes can be read. It reports whether the watch is to go on.
	Grown(n int64) (on bool)
	// Changed says that a read may end in another way than before, for any other reason. It ends the watch.
	Changed()
	// Noted says that the high watermark or the log start has moved, which nobody waits for, unless awaited is set.
	Noted(awaited bool)
}

// Watch is the standing interest of somebody who has read all there was of a partition: it costs nothing until there is
// more. It must not move in memory. Set and Stop are for one goroutine at a time.
type Watch struct {
	Owner Watcher

	at         atomic.Pointer[Replica] // nil while it is not set; that replica's waiters guard the rest
	list       *watchList
	who        *Follower // nil for a client
	stands     *Follower // whose fetches ask for the partition without naming it, nil for none
	next, prev *Watch
}

// Set begins to watch p's partition for whoever has just read p. It does not, and returns false, if something has happened
// since, or if p is not all there was.
func (w *Watch) Set(p *FetchPart) bool {
	w.Stop()
	if !p.caughtUp {
		return false
	}
	r := p.Replica
	r.waiters.Lock()
	defer r.waiters.Unlock()
	if r.changes.Load() != p.changes || r.progress(p.fetch).Load() != p.seen ||
		r.hw.Load() != p.HighWatermark || r.startAbove(r.log.Start()) != p.LogStart {
		return false
	}
	r.waiters.listOf(p.fetch).add(w, r, p.fetch.Follower)
	if ro := r.role.Load(); p.noted && ro.leads && ro.quorum.stand(p.fetch.Follower) {
		w.stands = p.fetch.Follower
	}
	return true
}

// Stop ends the watch; its owner may still hear of what happens at this moment.
func (w *Watch) Stop() {
	r := w.at.Load()
	if r == nil {
		return
	}
	r.waiters.Lock()
	defer r.waiters.Unlock()
	if w.at.Load() == r {
		w.list.remove(w)
	}
}

// watchList is the watches of a replica that hear of the same things. Its waiters' lock guards it.
type watchList struct {
	head *Watch
}

func (l *watchList) add(w *Watch, r *Replica, who *Follower) {
	w.at.Store(r)
	w.list, w.who, w.prev, w.next = l, who, nil, l.head
	if l.head != nil {
		l.head.prev = w
	}
	l.head = w
}

func (l *watchList) remove(w *Watch) {
	if w.prev == nil {
		l.head = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	}
	if ro := w.at.Load().role.Load(); w.stands != nil && ro.leads {
		ro.quorum.unstand(w.stands)
	}
	w.list, w.who, w.stands, w.prev, w.next = nil, nil, nil, nil, nil
	w.at.Store(nil)
}

// grown tells that n more bytes can be read.
func (l *watchList) grown(n int64) {
	for w := l.head; w != nil; {
		next := w.next
		if !w.Owner.Grown(n) {
			l.remove(w)
		}
		w = next
	}
}

func (l *watchList) changed() {
	for l.head != nil {
		owner := l.head.Owner // once it is removed the watch is its owner's
		l.remove(l.head)
		owner.Changed()
	}
}

// noted tells of what nobody waits for, but for followers with clients if q, which knows them, is not nil.
func (l *watchList) noted(q *quorum) {
	for w := l.head; w != nil; w = w.next {
		w.Owner.Noted(q != nil && w.who != nil && q.serves(w.who.ID))
	}
}

// fetchWatcher is a Fetch as the owner of the watches that it waits by.
type fetchWatcher Fetch

var _ Watcher = (*fetchWatcher)(nil)

// Grown implements Watcher.
func (f *fetchWatcher) Grown(n int64) bool {
	(*Fetch)(f).Grown(n)
	return true // it stops its watches itself when it looks again
}

// Changed implements Watcher.
func (f *fetchWatcher) Changed() { (*Fetch)(f).wake() }

// Noted implements Watcher.
func (f *fetchWatcher) Noted(awaited bool) {
	if awaited {
		(*Fetch)(f).wake()
	}
}
