package segment

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"firn/segment/vfs"
)

// Finding is something that Check found wrong.
type Finding struct {
	Path   string
	Offset int64  // byte position in the file
	What   string // what is wrong there
	// Harmless says that opening the log repairs it without loss of what was durable: a torn tail, an
	// index that is behind, a file left over.
	Harmless bool
}

func (f Finding) String() string {
	s := fmt.Sprintf("%s: byte %d: %s", f.Path, f.Offset, f.What)
	if f.Harmless {
		s += " (harmless)"
	}
	return s
}

// Check verifies all files of a disk that no broker has open: every batch's frame and CRC, indexes
// against logs, snapshots, state and checkpoints. It changes nothing. ErrLocked if the disk is in use.
// An error is one that kept Check from going on; what is wrong with the data goes to report.
func Check(fsys vfs.FS, dir string, report func(Finding)) error {
	if _, err := fsys.Stat(filepath.Join(dir, metaName)); err != nil {
		return fmt.Errorf("check %s: not a log directory, one of log.dirs: %w", dir, err)
	}
	lock, err := fsys.Lock(filepath.Join(dir, lockName))
	if errors.Is(err, vfs.ErrLocked) {
		return fmt.Errorf("check: %w: %s", ErrLocked, dir)
	}
	if err != nil {
		return fmt.Errorf("check: %w", err)
	}
	defer lock.Close()
	c := checker{fs: fsys, dir: dir, tell: report}
	if err := c.disk(); err != nil {
		return fmt.Errorf("check %s: %w", dir, err)
	}
	names, err := fsys.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("check: %w", err)
	}
	for _, n := range names {
		name, _, removed := strings.Cut(n.Name(), ".")
		ref, ok := parseDirName(name)
		if !ok {
			continue
		}
		if strings.HasSuffix(n.Name(), damagedSuffix) {
			c.report(filepath.Join(dir, n.Name()), 0, "a damaged log that was set aside", true)
			continue
		}
		if removed { // the checkpoint may not have heard of it yet
			c.removed = append(c.removed, ref)
			continue
		}
		e, known := c.entries[ref]
		delete(c.entries, ref)
		p := partitionCheck{checker: &c, dir: filepath.Join(dir, n.Name()), known: known, entry: e}
		if err := p.run(); err != nil {
			return fmt.Errorf("check %s: %w", p.dir, err)
		}
	}
	for _, ref := range c.removed {
		delete(c.entries, ref)
	}
	for ref := range c.entries {
		c.report(filepath.Join(dir, dirName(ref)), 0, "the checkpoint knows this directory, but it is missing", false)
	}
	return nil
}

type checker struct {
	fs      vfs.FS
	dir     string
	tell    func(Finding)
	entries map[Ref]entry
	removed []Ref
}

func (c *checker) report(path string, at int64, what string, harmless bool) {
	c.tell(Finding{Path: path, Offset: at, What: what, Harmless: harmless})
}

// found reports err if it says that something is damaged or missing, and returns any other.
func (c *checker) found(path string, err error, harmless bool) error {
	var ce *CorruptionError
	switch {
	case err == nil:
	case errors.As(err, &ce):
		c.report(ce.Path, ce.Offset, ce.Err.Error(), harmless)
	case errors.Is(err, fs.ErrNotExist):
		c.report(path, 0, "missing", harmless)
	default:
		return err
	}
	return nil
}

// disk checks the disk's own files.
func (c *checker) disk() error {
	if _, err := readMeta(c.fs, filepath.Join(c.dir, metaName)); err != nil {
		if err := c.found(metaName, err, false); err != nil {
			return err
		}
	}
	var newest int64
	var bad []error
	for _, name := range [...]string{checkpointAName, checkpointBName} {
		path := filepath.Join(c.dir, name)
		if i, err := c.fs.Stat(path); err == nil && i.Size() == 0 {
			continue // not written yet
		}
		generation, entries, err := readCheckpointFile(c.fs, path)
		switch {
		case err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, fs.ErrNotExist):
			return err
		case err != nil:
			bad = append(bad, err)
		case generation > newest:
			newest, c.entries = generation, entries
		}
	}
	for _, err := range bad { // the other one serves, if there is one
		if err := c.found(checkpointAName, err, newest > 0); err != nil {
			return err
		}
	}
	return nil
}

// partitionCheck checks one partition's directory.
type partitionCheck struct {
	*checker
	dir   string
	known bool // the checkpoint has entry
	entry entry
	state *state
	files files
}

func (p *partitionCheck) path(name string) string { return filepath.Join(p.dir, name) }

func (p *partitionCheck) run() (err error) {
	if p.files, err = listFiles(p.fs, p.dir); err != nil {
		return err
	}
	if p.state, err = readStateFile(p.fs, p.path(stateName)); err != nil {
		// It is rebuilt from the segments.
		if err := p.found(p.path(stateName), err, true); err != nil {
			return err
		}
		if p.state, err = survey(p.fs, p.dir, p.files, nil); err != nil {
			return p.found(p.path(stateName), err, !p.known && len(p.files.logs) == 0)
		}
	} else if p.state.pending != pendingNone {
		p.report(p.path(stateName), 0, "a truncation or reset is pending", true)
		return nil // what it cuts is nobody's
	}
	for _, i := range p.state.sealed {
		if err := p.sealed(i); err != nil {
			return err
		}
	}
	if err := p.active(); err != nil {
		return err
	}
	return p.others()
}

// others checks snapshots and finds files that nobody needs.
func (p *partitionCheck) others() error {
	for _, at := range p.files.snaps {
		name := p.path(offsetName(at, snapSuffix))
		if _, err := readSnapshotFile(p.fs, name, at); err != nil {
			if err := p.found(name, err, true); err != nil {
				return err
			}
		}
	}
	for _, name := range p.files.left {
		p.report(name, 0, "left over", true)
	}
	for _, base := range p.files.logs {
		known := base == p.state.active || slices.ContainsFunc(p.state.sealed, func(i Info) bool { return i.Base == base })
		if known {
			continue
		}
		name := p.path(offsetName(base, logSuffix))
		i, err := p.fs.Stat(name)
		if err != nil {
			return err
		}
		switch {
		case base < p.state.active || i.Size() == 0:
			p.report(name, 0, "left over", true)
		default:
			p.report(name, 0, "the state file does not know this segment", false)
		}
	}
	return nil
}
