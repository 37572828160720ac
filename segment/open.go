package segment

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"firn/segment/vfs"
)

// Open makes the partition's log or recovers it: what it then holds is durable and verified past the
// last checkpoint. A torn tail is cut; a *CorruptionError says that bytes that were durable are damaged
// or missing, where Options.Elsewhere does not help; then nothing is changed. Different partitions may be opened in parallel and should be.
func (d *Disk) Open(id [16]byte, p int32, o Options) (*Log, error) {
	ref := Ref{ID: id, Index: p}
	known, err := d.reserve(ref)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	l := newLog(d, ref, o)
	dirty, err := l.recover(known, &o)
	if err != nil {
		d.unreserve(ref)
		if errors.Is(err, ErrCorrupt) {
			d.metrics.corrupt.Inc()
			l.logger.Error("log is corrupt and not served", "dir", l.dir, "error", err)
		}
		return nil, fmt.Errorf("open log %s: %w", dirName(ref), err)
	}
	d.mu.Lock()
	closed := d.mu.closed
	d.mu.logs[ref] = l
	d.mu.Unlock()
	err = d.Offline() // what fails from now on, the log is told of
	if closed {
		err = ErrClosed
	}
	// What was recovered is checkpointed before anyone relies on it: from now on it is durable, and
	// what goes bad in it is damage.
	if err == nil && (dirty || known == nil) {
		err = d.writeCheckpoint()
	}
	if err == nil {
		err = l.finishPending()
	}
	if err != nil {
		l.abandon()
		return nil, fmt.Errorf("open log %s: %w", dirName(ref), err)
	}
	d.Forgo(ref) // it is recovered
	d.metrics.recoveries.Observe(time.Since(began).Seconds())
	return l, nil
}

// reserve takes a partition's place on the disk and returns what the checkpoint knows of it.
func (d *Disk) reserve(ref Ref) (*entry, error) {
	if err := d.Offline(); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mu.closed {
		return nil, ErrClosed
	}
	if _, ok := d.mu.logs[ref]; ok {
		return nil, fmt.Errorf("%w: %s", ErrOpen, dirName(ref))
	}
	if !d.sealed.addLog() {
		return nil, fmt.Errorf("%w: %d logs are open of a budget of %d descriptors (RLIMIT_NOFILE) and %d mappings (vm.max_map_count)",
			ErrFileLimit, len(d.mu.logs), d.sealed.files, d.sealed.mappings)
	}
	d.mu.logs[ref] = nil
	if e, ok := d.mu.entries[ref]; ok {
		return &e, nil
	}
	return nil, nil
}

func (d *Disk) unreserve(ref Ref) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.mu.logs, ref)
	d.sealed.removeLog()
}

func newLog(d *Disk, ref Ref, o Options) *Log {
	l := &Log{
		disk: d, ref: ref, dir: d.file(dirName(ref)), logger: o.Logger,
		producers: o.Producers, onDurable: o.OnDurable, onFailure: o.OnFailure,
	}
	if l.logger == nil {
		l.logger = d.logger.With("log", dirName(ref))
	}
	l.SetSettings(o.Settings)
	l.commits.drained = make(chan struct{})
	return l
}

// recover brings the log to what its files hold. It tells whether the checkpoint is behind that.
func (l *Log) recover(known *entry, o *Options) (dirty bool, err error) {
	f, err := l.listFiles()
	if errors.Is(err, fs.ErrNotExist) {
		if known != nil {
			return false, &CorruptionError{Path: l.dir, Err: errors.New("the directory is missing")}
		}
		return true, l.create()
	}
	if err != nil {
		return false, err
	}
	if err := settle(l.disk.fs, l.dir, l.disk.clean); err != nil {
		return false, err
	}
	st, err := readStateFile(l.disk.fs, l.path(stateName))
	switch {
	case errors.Is(err, fs.ErrNotExist) && known == nil && l.allEmpty(f):
		return true, l.create() // a creation that did not end
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, ErrCorrupt):
		if st, err = l.rebuildState(f, known, err); err != nil {
			return false, err
		}
	case err != nil:
		return false, err
	}
	l.applyState(st)
	l.mu.saved = st.epochs
	dirty, err = l.recoverSegments(f, known, o)
	if err != nil {
		l.closeFiles()
		return false, err
	}
	if known != nil {
		l.hw.Store(min(max(known.hw, l.Start()), l.Next()))
	} else {
		l.hw.Store(l.Start())
	}
	l.recovered = l.hw.Load()
	l.commits.reported = l.Durable()
	return dirty, nil
}

// settle makes durable what files a directory holds, unless the run before ended in order: a process that was killed
// between replacing a file and making that durable leaves one that a power cut would still take back, after others were
// built on it.
func settle(fsys vfs.FS, dir string, clean bool) error {
	if clean {
		return nil
	}
	if err := fsys.SyncDir(dir); err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	return nil
}

// create makes a new log that begins at offset 0.
func (l *Log) create() error {
	if err := l.disk.touch(); err != nil {
		return err
	}
	if err := l.disk.fs.MkdirAll(l.dir); err != nil {
		return l.disk.judge(fmt.Errorf("create log: %w", err))
	}
	s, err := l.createSegment(0)
	if err != nil {
		return err
	}
	if err := l.writeState(&state{}); err != nil {
		s.drop()
		return err
	}
	l.view.Store(&view{active: s})
	l.setActive(position{}, 0, time.Time{})
	if l.producers != nil {
		l.producers.Reset()
	}
	l.mu.marked = true
	return nil
}

func (l *Log) allEmpty(f files) bool {
	for _, base := range f.logs {
		if size, err := l.logSize(base); err != nil || size > 0 {
			return false
		}
	}
	return true
}

// closeFiles closes what a recovery that failed has opened.
func (l *Log) closeFiles() {
	if v := l.view.Swap(nil); v != nil {
		for i := range v.len() {
			v.at(i).drop()
		}
	}
}
