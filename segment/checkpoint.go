package segment

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"firn/segment/vfs"
)

// checkpointInterval is how long after a sync the checkpoint follows. Recovery reads what was appended
// since: at 500 MB/s that is 2.5 GB, a few seconds.
const checkpointInterval = 5 * time.Second

// entry is what the checkpoint knows of a log: up to where its bytes are durable, so that recovery
// verifies only what follows, and takes anything bad before it for damage and not for a torn write.
type entry struct {
	synced position // in the segment active at that time
	// indexed is how many index entries of that segment are durable.
	indexed int64
	start   int64
	hw      int64
	// since is when the segment got its first batch, ms since 1970, 0 for never.
	since int64
}

const entrySize = 16 + 4 + 7*8

func encodeCheckpoint(generation int64, entries map[Ref]entry) []byte {
	b := make([]byte, 0, 12+len(entries)*entrySize)
	b = appendI64(b, generation)
	b = appendU32(b, uint32(len(entries)))
	refs := slices.SortedFunc(maps.Keys(entries), func(a, b Ref) int {
		return cmp.Or(bytes.Compare(a.ID[:], b.ID[:]), cmp.Compare(a.Index, b.Index))
	})
	for _, r := range refs {
		e := entries[r]
		b = append(b, r.ID[:]...)
		b = appendU32(b, uint32(r.Index))
		for _, v := range [...]int64{e.synced.base, e.synced.size, e.synced.next, e.indexed, e.start, e.hw, e.since} {
			b = appendI64(b, v)
		}
	}
	return wrap(kindCheckpoint, b)
}

func decodeCheckpoint(b []byte) (generation int64, entries map[Ref]entry, err error) {
	d := decoder{b: b}
	generation = d.i64()
	n := d.count(entrySize)
	entries = make(map[Ref]entry, n)
	for range n {
		var r Ref
		copy(r.ID[:], d.take(len(r.ID)))
		r.Index = int32(d.u32())
		e := entry{synced: position{base: d.i64(), size: d.i64(), next: d.i64()}, indexed: d.i64()}
		e.start, e.hw, e.since = d.i64(), d.i64(), d.i64()
		if p := e.synced; p.base < 0 || p.size < 0 || p.next < p.base || e.indexed < 0 || e.start < 0 {
			return 0, nil, fmt.Errorf("%w: entry of %s", errPayload, dirName(r))
		}
		entries[r] = e
	}
	return generation, entries, d.err()
}

// checkpointer writes the two checkpoint files by turns, so that a torn write leaves the other.
type checkpointer struct {
	wanted atomic.Int64 // checkpoints asked for
	armed  atomic.Bool  // the timer runs

	timer struct {
		sync.Mutex
		t       *time.Timer
		stopped bool
	}

	mu struct {
		sync.Mutex
		files      [2]vfs.File
		generation int64
		written    int64 // the highest wanted that a written checkpoint covers
	}
}

// open reads the newer of the two files and makes those that are not there.
func (c *checkpointer) open(d *Disk) (map[Ref]entry, error) {
	var newest map[Ref]entry
	made := false
	for i, name := range [...]string{checkpointAName, checkpointBName} {
		path := d.file(name)
		f, err := d.fs.OpenRW(path)
		if errors.Is(err, fs.ErrNotExist) {
			f, err = d.fs.Create(path)
			made = true
		}
		if err != nil {
			return nil, fmt.Errorf("open checkpoint: %w", err)
		}
		c.mu.files[i] = f
		if !d.clean { // the other file is about to be written over: this one must not be in memory only
			if err := f.Sync(); err != nil {
				return nil, fmt.Errorf("open checkpoint: %w", err)
			}
		}
		generation, entries, err := readCheckpoint(d, path)
		if err != nil {
			return nil, err
		}
		if entries != nil && generation > c.mu.generation {
			c.mu.generation, newest = generation, entries
		}
	}
	if newest == nil {
		newest = make(map[Ref]entry)
	}
	if made {
		if err := d.fs.SyncDir(d.dir); err != nil {
			return nil, fmt.Errorf("make checkpoint: %w", err)
		}
	}
	return newest, nil
}

// readCheckpoint reads one of the files, nil entries if it holds no whole checkpoint.
func readCheckpoint(d *Disk, path string) (generation int64, entries map[Ref]entry, err error) {
	generation, entries, err = readCheckpointFile(d.fs, path)
	if err == nil || !errors.Is(err, ErrCorrupt) {
		return generation, entries, err
	}
	if i, serr := d.fs.Stat(path); serr != nil || i.Size() > 0 {
		d.logger.Warn("checkpoint file is torn", "path", path, "error", err)
	}
	return 0, nil, nil
}

func readCheckpointFile(fsys vfs.FS, path string) (generation int64, entries map[Ref]entry, err error) {
	b, err := readEnvelope(fsys, path, kindCheckpoint)
	if err != nil {
		return 0, nil, err
	}
	if generation, entries, err = decodeCheckpoint(b); err != nil {
		return 0, nil, &CorruptionError{Path: path, Err: err}
	}
	return generation, entries, nil
}

// armCheckpoint sees to it that a checkpoint follows soon.
func (d *Disk) armCheckpoint() {
	c := &d.checkpoint
	if c.armed.Load() || c.armed.Swap(true) {
		return
	}
	c.timer.Lock()
	defer c.timer.Unlock()
	if !c.timer.stopped {
		c.timer.t = time.AfterFunc(checkpointInterval, d.timedCheckpoint)
	}
}

// timedCheckpoint is the checkpoint that the timer asks for. It also writes the marks that are due, and the states that
// lack epochs.
func (d *Disk) timedCheckpoint() {
	d.checkpoint.armed.Store(false)
	for _, l := range d.openLogs() {
		if err := l.writeMark(); err != nil && !errors.Is(err, ErrClosed) {
			l.logger.Warn("snapshot is put off", "error", err)
		}
		if err := l.stateEpochs(); err != nil && !errors.Is(err, ErrClosed) {
			l.logger.Warn("leader epochs are put off", "error", err)
		}
	}
	if err := d.writeCheckpoint(); err != nil && d.Offline() == nil && !errors.Is(err, ErrClosed) {
		d.logger.Warn("checkpoint is put off", "dir", d.dir, "error", err)
		d.armCheckpoint()
	}
}

// writeCheckpoint returns once a checkpoint is durable that was begun after the call. Calls that meet
// share one.
func (d *Disk) writeCheckpoint() error {
	c := &d.checkpoint
	ticket := c.wanted.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.written >= ticket {
		return nil
	}
	if c.mu.files[0] == nil {
		return ErrClosed
	}
	if err := d.Offline(); err != nil {
		return err
	}
	covers := c.wanted.Load()
	began := time.Now()
	b := encodeCheckpoint(c.mu.generation+1, d.collectEntries())
	f := c.mu.files[(c.mu.generation+1)%2]
	err := d.spare.spend(d, func() error {
		_, err := f.WriteAt(b, 0)
		return err
	})
	if err != nil {
		return d.judge(fmt.Errorf("write checkpoint %s: %w", f.Name(), err))
	}
	if err := f.Sync(); err != nil {
		return d.fail(fmt.Errorf("sync checkpoint %s: %w", f.Name(), err))
	}
	c.mu.generation++
	c.mu.written = covers
	d.metrics.checkpoints.Observe(time.Since(began).Seconds())
	d.spare.keep(d) // here, as nothing is written once the checkpoint is closed
	return nil
}

// collectEntries brings the entries up to date with the open logs and returns a copy.
func (d *Disk) collectEntries() map[Ref]entry {
	d.mu.Lock()
	defer d.mu.Unlock()
	for r, l := range d.mu.logs {
		if l == nil {
			continue
		}
		if e, ok := l.entry(); ok {
			d.mu.entries[r] = e
		}
	}
	return maps.Clone(d.mu.entries)
}

// stop ends the timer; checkpoints may still be asked for.
func (c *checkpointer) stop() {
	c.timer.Lock()
	defer c.timer.Unlock()
	c.timer.stopped = true
	if c.timer.t != nil {
		c.timer.t.Stop()
	}
}

// close ends all.
func (c *checkpointer) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for i, f := range c.mu.files {
		if f != nil {
			errs = append(errs, f.Close())
		}
		c.mu.files[i] = nil
	}
	return errors.Join(errs...)
}
