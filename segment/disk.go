package segment

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"firn/segment/vfs"
)

// Ref names a partition by its topic's id and its number.
type Ref struct {
	ID    [16]byte
	Index int32
}

// Disk is one log directory, locked for this process. All methods are safe for concurrent use.
type Disk struct {
	fs        vfs.FS
	dir       string
	logger    *slog.Logger
	metrics   *metrics
	onOffline func(error)
	lock      io.Closer

	meta       meta
	clean      bool // the run before ended in order
	failed     bool // an earlier run took the disk offline; until SetBrokerEpoch
	sealed     openSegments
	committer  committer
	checkpoint checkpointer
	space      space
	spare      spare
	background sync.WaitGroup

	offline atomic.Pointer[error]
	touched atomic.Bool // CLEAN is gone

	mu struct {
		sync.Mutex
		closed  bool
		logs    map[Ref]*Log // nil while being opened
		entries map[Ref]entry
		aside   map[Ref]string // directories of damaged logs that are kept
		unread  map[Ref]bool   // logs of a run that did not end in order which have not been recovered yet
		epoch   int64
	}
}

// OpenDisk opens a log directory, making it if need be. ErrLocked if another process has it, ErrForeign
// if it belongs to another broker.
func OpenDisk(o DiskOptions) (*Disk, error) {
	if err := o.ensureDefaults(); err != nil {
		return nil, err
	}
	if err := o.FS.MkdirAll(o.Dir); err != nil {
		return nil, fmt.Errorf("open disk %s: %w", o.Dir, err)
	}
	lock, err := o.FS.Lock(filepath.Join(o.Dir, lockName))
	if errors.Is(err, vfs.ErrLocked) {
		return nil, fmt.Errorf("%w: %s", ErrLocked, o.Dir)
	}
	if err != nil {
		return nil, fmt.Errorf("lock disk %s: %w", o.Dir, err)
	}
	d := &Disk{fs: o.FS, dir: o.Dir, logger: o.Logger, onOffline: o.OnOffline, lock: lock}
	d.metrics = newMetrics(o.Registerer, d)
	d.sealed.files, d.sealed.mappings = o.Files, o.Mappings
	d.space.thresholds = o.Thresholds
	d.mu.logs, d.mu.aside = make(map[Ref]*Log), make(map[Ref]string)
	if err := d.load(o); err != nil {
		d.background.Wait()
		return nil, errors.Join(fmt.Errorf("open disk %s: %w", o.Dir, err), d.checkpoint.close(), lock.Close())
	}
	return d, nil
}

// load reads the disk's own files.
func (d *Disk) load(o DiskOptions) error {
	m, err := readMeta(d.fs, d.file(metaName))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		m = meta{cluster: o.ClusterID, broker: o.BrokerID, epoch: -1}
		rand.Read(m.id[:])
		err = vfs.WriteAtomic(d.fs, d.file(metaName), m.encode())
	case err == nil:
		var adopted bool
		if adopted, err = m.match(o); adopted {
			err = vfs.WriteAtomic(d.fs, d.file(metaName), m.encode())
		}
	}
	if err != nil {
		return err
	}
	d.meta, d.mu.epoch = m, m.epoch
	if d.clean, err = readClean(d.fs, d.file(cleanName), m.epoch); err != nil {
		return err
	}
	d.touched.Store(!d.clean)
	if !d.clean {
		if err := d.listUnread(); err != nil {
			return err
		}
	}
	switch _, err := d.fs.Stat(d.file(failedName)); {
	case err == nil:
		d.failed = true
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := settle(d.fs, d.dir, d.clean); err != nil {
		return err
	}
	if d.mu.entries, err = d.checkpoint.open(d); err != nil {
		return err
	}
	if err := d.finishRemovals(); err != nil {
		return err
	}
	d.spare.load(d)
	_, err = d.Usage()
	return err
}

func (d *Disk) file(name string) string { return filepath.Join(d.dir, name) }

// ID is the disk's own random id, made with the directory.
func (d *Disk) ID() [16]byte { return d.meta.id }

// Dir is the directory.
func (d *Disk) Dir() string { return d.dir }

// LastBrokerEpoch is the epoch of the broker's previous run on this disk, -1 if none, and whether that
// run ended in order. If it did not, the disk may have lost what was appended but not durable.
func (d *Disk) LastBrokerEpoch() (epoch int64, clean bool) { return d.meta.epoch, d.clean }

// Failed tells whether an earlier run has taken the disk offline for an error, since when no registration was made with
// it: what was appended but not durable may be lost, also in the same boot. It is for use before SetBrokerEpoch.
func (d *Disk) Failed() bool { return d.failed }

// SetBrokerEpoch records this run's broker epoch durably, and that a failure of an earlier one has been told. It must
// be called before the first Append of a run.
func (d *Disk) SetBrokerEpoch(epoch int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	m := d.meta
	m.epoch = epoch
	err := d.spare.spend(d, func() error { return vfs.WriteAtomic(d.fs, d.file(metaName), m.encode()) })
	if err != nil {
		return d.judge(fmt.Errorf("set broker epoch: %w", err))
	}
	d.mu.epoch = epoch
	if d.failed {
		if err := d.forgetFailure(); err != nil {
			return err
		}
		d.failed = false
	}
	if d.touched.Load() {
		return nil
	}
	return d.noteClean(epoch)
}

// noteClean vouches for the run of an epoch.
func (d *Disk) noteClean(epoch int64) error {
	return d.judge(d.spare.spend(d, func() error { return writeClean(d.fs, d.file(cleanName), epoch) }))
}

// touch must have returned nil before anything is changed that a clean stop vouched for.
func (d *Disk) touch() error {
	if d.touched.Load() {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.touched.Load() {
		return nil
	}
	err := removeIfThere(d.fs, d.file(cleanName))
	if err == nil {
		err = d.fs.SyncDir(d.dir)
	}
	if err != nil {
		return d.judge(fmt.Errorf("remove clean mark: %w", err))
	}
	d.touched.Store(true)
	return nil
}

// Partitions lists the partitions that have data here, open or not, corrupt or not, if it is only a damaged log that was
// set aside.
func (d *Disk) Partitions() ([]Ref, error) {
	names, err := d.fs.ReadDir(d.dir)
	if err != nil {
		return nil, fmt.Errorf("list partitions: %w", err)
	}
	var refs []Ref
	seen := make(map[Ref]bool, len(names))
	for _, n := range names {
		r, ok := parseTakenAway(n.Name())
		if ok && n.IsDir() && !strings.HasSuffix(n.Name(), deletedSuffix) && !seen[r] {
			seen[r] = true
			refs = append(refs, r)
		}
	}
	return refs, nil
}

func (d *Disk) openLogs() []*Log {
	d.mu.Lock()
	defer d.mu.Unlock()
	logs := make([]*Log, 0, len(d.mu.logs))
	for _, l := range d.mu.logs {
		if l != nil {
			logs = append(logs, l)
		}
	}
	return logs
}

// closeParallel is how many logs are closed at a time: each costs a few syncs.
const closeParallel = 16

// listUnread notes which logs a run that did not end in order has left.
func (d *Disk) listUnread() error {
	names, err := d.fs.ReadDir(d.dir)
	if err != nil {
		return err
	}
	d.mu.unread = make(map[Ref]bool)
	for _, n := range names {
		if ref, ok := parseDirName(n.Name()); ok && n.IsDir() {
			d.mu.unread[ref] = true
		}
	}
	return nil
}

// Forgo says that nobody relies on a partition's log: a clean stop may vouch for the disk though the log has not been opened.
func (d *Disk) Forgo(ref Ref) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.mu.unread, ref)
}

// Close closes all logs and releases the directory. With clean set it makes everything durable and
// notes that, so that the next start verifies nothing; without, it leaves things as a kill would. After a run that did not end in
// order nothing is noted before each log that it has left has been opened, removed or forgone: what nobody has recovered may be in
// memory only.
func (d *Disk) Close(clean bool) error {
	d.mu.Lock()
	if d.mu.closed {
		d.mu.Unlock()
		return ErrClosed
	}
	d.mu.closed = true
	d.mu.Unlock()
	var g errgroup.Group
	g.SetLimit(closeParallel)
	for _, l := range d.openLogs() {
		g.Go(func() error {
			if clean {
				return l.Close()
			}
			l.abandon()
			return nil
		})
	}
	err := g.Wait()
	d.checkpoint.stop()
	if err == nil && clean {
		err = d.closeClean()
	}
	d.background.Wait()
	return errors.Join(err, d.checkpoint.close(), d.lock.Close())
}

// closeClean writes what tells the next start that all is durable, if it is.
func (d *Disk) closeClean() error {
	if err := d.writeCheckpoint(); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := len(d.mu.unread); n > 0 {
		d.logger.Warn("log directory was not recovered to the end; the next start goes on with that", "dir", d.dir, "logs", n)
		return nil
	}
	return d.noteClean(d.mu.epoch)
}
