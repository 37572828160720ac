package segment

import (
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Log is one partition on disk. See the package comment for who may call what when.
type Log struct {
	disk      *Disk
	ref       Ref
	dir       string
	logger    *slog.Logger
	producers ProducerState
	onDurable func(end int64)
	onFailure func(error)
	recovered int64 // high watermark found by Open

	settings atomic.Pointer[Settings]
	view     atomic.Pointer[view] // nil once closed
	epochs   atomic.Pointer[[]Epoch]
	start    atomic.Int64
	durable  atomic.Int64
	hw       atomic.Int64
	since    atomic.Int64 // of the active segment, as in entry
	closing  atomic.Bool
	ended    atomic.Int64 // Next, once the log is closed
	cutBack  atomic.Bool  // a torn write was undone since the last sync, which leaves something to be synced
	commits  commits

	// mu is held by what changes the log, over its IO.
	mu struct {
		sync.Mutex
		closed    bool
		saved     epochList // of the state file
		mustRoll  bool      // a roll got stuck after it closed the active segment to appends
		iov       [][]byte
		writeBack int64 // the active segment's bytes below are being written to disk
		reserved  int64 // of the active segment, where the blocks that are set aside end; 0 if none are
		unflushed int64 // bytes appended since the index was flushed
		unmarked  int64 // bytes appended since the last mark
		marked    bool  // what a mark at the log's end would make durable is
		dirty     int64 // bytes appended since the last Commit that Append asked for
		records   int64 // offsets likewise
		timer     *time.Timer
		armed     time.Duration // the FlushInterval that the timer was set to, 0 while it does not run
	}
	st *state // in force; guarded by mu

	// markMu is held while a mark is written. mark is the one that is due.
	markMu sync.Mutex
	mark   atomic.Pointer[mark]
	resets int // how often the log was thrown away; changed with mu and markMu held

	// syncMu is held by whoever syncs the active segment.
	syncMu sync.Mutex

	// pos is what the checkpoint takes, guarded by a lock that nobody holds for long.
	pos struct {
		sync.Mutex
		synced  position
		indexed int64 // index entries of segment synced.base that are durable
		final   bool  // the log is closed
		// While the state file lacks epochs of batches the checkpoint says what synced and indexed were before them.
		held        bool
		heldAt      position
		heldIndexed int64
	}
}

// Start is the first offset the log serves. Start <= Durable <= Next.
func (l *Log) Start() int64 { return l.start.Load() }

// Next is the offset that the next batch gets. Of a closed log it is where that ended: who reads while the log is closed
// must not take it for an empty one.
func (l *Log) Next() int64 {
	v := l.view.Load()
	if v == nil {
		return l.ended.Load()
	}
	next, _ := v.active.bounds()
	return next
}

// Durable is the end of what survives a power cut.
func (l *Log) Durable() int64 { return l.durable.Load() }

// SetHighWatermark remembers the caller's high watermark; it is on disk from the next checkpoint on.
func (l *Log) SetHighWatermark(hw int64) { l.hw.Store(hw) }

// RecoveredHighWatermark is the one that Open found, at most Next and at least Start.
func (l *Log) RecoveredHighWatermark() int64 { return l.recovered }

// SetSettings changes the settings from the next Append on.
func (l *Log) SetSettings(s Settings) {
	s = s.withDefaults()
	l.settings.Store(&s)
}

// Active tells of the active segment: its base offset, its size in bytes, and when its first batch was
// appended, zero if it has none.
func (l *Log) Active() (base, size int64, since time.Time) {
	v := l.view.Load()
	if v == nil {
		return 0, 0, time.Time{}
	}
	_, size = v.active.bounds()
	if ms := l.since.Load(); ms > 0 {
		since = time.UnixMilli(ms)
	}
	return v.active.base, size, since
}

// Info describes a segment.
type Info struct {
	Base, End int64 // offsets [Base, End)
	Size      int64 // bytes
	MaxTime   int64 // largest timestamp, ms since 1970; math.MinInt64 if it is empty
	Sealed    bool
}

// Segments describes all segments, oldest first, the active one last. It does no IO.
func (l *Log) Segments() []Info {
	v := l.view.Load()
	if v == nil {
		return nil
	}
	infos := make([]Info, 0, v.len())
	for _, s := range v.sealed {
		infos = append(infos, s.info(true))
	}
	return append(infos, v.active.info(false))
}

// SegmentOf returns the segment that a *CorruptionError is about, false if it is about none that the log has.
func (l *Log) SegmentOf(err error) (Info, bool) {
	var c *CorruptionError
	if errors.As(err, &c) {
		for _, i := range l.Segments() {
			if l.offsetPath(i.Base, logSuffix) == c.Path {
				return i, true
			}
		}
	}
	return Info{}, false
}

// Size is the log's bytes on disk.
func (l *Log) Size() int64 {
	v := l.view.Load()
	if v == nil {
		return 0
	}
	var n int64
	for i := range v.len() {
		_, size := v.at(i).bounds()
		n += size
	}
	return n
}

// writable is nil if the log may be changed; mu is held.
func (l *Log) writable() error {
	if err := l.disk.Offline(); err != nil {
		return err
	}
	if l.mu.closed {
		return ErrClosed
	}
	return l.disk.touch()
}

// entry is what the checkpoint should say of the log; false once the log is closed and has had its last
// say.
func (l *Log) entry() (entry, bool) {
	l.pos.Lock()
	defer l.pos.Unlock()
	e := entry{synced: l.pos.synced, indexed: l.pos.indexed, start: l.start.Load(), hw: l.hw.Load(), since: l.since.Load()}
	if l.pos.held {
		e.synced, e.indexed = l.pos.heldAt, l.pos.heldIndexed
	}
	return e, !l.pos.final
}

// writeState replaces the state file, which commits what st changes; mu is held. If the disk is full
// nothing has changed; on any other error it is not known what the file says and the disk goes
// offline.
func (l *Log) writeState(st *state) error {
	write := func() error { return writeStateFile(l.disk.fs, l.path(stateName), st) }
	var err error
	if l.st == nil || len(st.sealed) > len(l.st.sealed) { // what grows does not live on the spare
		err = write()
	} else {
		err = l.disk.spare.spend(l.disk, write)
	}
	if err != nil {
		return l.disk.judge(err)
	}
	l.applyState(st)
	l.mu.saved = st.epochs
	l.pos.Lock()
	l.pos.held = false
	l.pos.Unlock()
	return nil
}

func (l *Log) applyState(st *state) {
	l.st = st
	epochs := st.epochs
	l.epochs.Store(&epochs)
	l.start.Store(st.start)
}

// Close makes the log durable and closes it, after the callback that may be running. Extents stay
// good.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.mu.closed {
		l.mu.Unlock()
		return ErrClosed
	}
	l.mu.closed = true
	l.stopTimer()
	err := l.disk.Offline()
	if err == nil {
		if !l.mu.marked {
			l.stashMark()
		}
		err = l.closeDurably()
	}
	l.mu.Unlock()
	l.retire()
	return err
}

// closeDurably syncs everything and writes the mark that was stashed, so that the next Open has nothing to replay. If there
// is no room for that it has.
func (l *Log) closeDurably() error {
	if err := l.unreserve(l.view.Load().active); err != nil {
		return l.disk.judge(err)
	}
	if err := l.sync(); err != nil {
		return err
	}
	err := l.saveEpochs()
	if err == nil {
		err = l.writeMark()
	}
	if ranOut(err) && l.disk.Offline() == nil {
		l.logger.Warn("what the log ends with has to be read again", "error", err)
		return nil
	}
	return err
}

// abandon closes the log as it is.
func (l *Log) abandon() {
	l.mu.Lock()
	closed := l.mu.closed
	l.mu.closed = true
	l.stopTimer()
	l.mu.Unlock()
	if !closed {
		l.retire()
	}
}

func (l *Log) stopTimer() {
	if l.mu.timer != nil {
		l.mu.timer.Stop()
	}
}

// retire takes a closed log out of use, once its callbacks are done.
func (l *Log) retire() {
	l.drain()
	l.withdraw()
}

// withdraw takes a closed log's files out of use.
func (l *Log) withdraw() {
	l.markMu.Lock() // wait for a mark under way
	l.ended.Store(l.Next())
	v := l.view.Swap(nil)
	l.markMu.Unlock()
	for i := range v.len() {
		v.at(i).drop()
	}
	l.disk.forget(l)
}

// forget ends an open log's place on the disk, keeping what the checkpoint should say of it.
func (d *Disk) forget(l *Log) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if e, ok := l.entry(); ok {
		d.mu.entries[l.ref] = e
	}
	l.pos.Lock()
	l.pos.final = true
	l.pos.Unlock()
	delete(d.mu.logs, l.ref)
	d.sealed.removeLog()
}
