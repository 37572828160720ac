package segment

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"firn/segment/vfs"
)

// files are what a partition's directory holds, by offset, rising.
type files struct {
	logs, indexes, snaps []int64
	left                 []string // left over by an atomic replacement that did not end
	state                bool
}

func (l *Log) listFiles() (files, error) { return listFiles(l.disk.fs, l.dir) }

func listFiles(fsys vfs.FS, dir string) (files, error) {
	var f files
	names, err := fsys.ReadDir(dir)
	if err != nil {
		return f, fmt.Errorf("list segments: %w", err)
	}
	for _, n := range names {
		name := n.Name()
		at, suffix, ok := parseOffsetName(name)
		switch {
		case name == stateName:
			f.state = true
		case strings.HasSuffix(name, tmpSuffix):
			f.left = append(f.left, filepath.Join(dir, name))
		case ok && suffix == logSuffix:
			f.logs = append(f.logs, at)
		case ok && suffix == idxSuffix:
			f.indexes = append(f.indexes, at)
		case ok && suffix == snapSuffix:
			f.snaps = append(f.snaps, at)
		}
	}
	return f, nil
}

func writeStateFile(fsys vfs.FS, name string, st *state) error {
	return vfs.WriteAtomic(fsys, name, wrap(kindState, st.encode()))
}

// readStateFile returns the state. A damaged file is a *CorruptionError, a missing one matches
// fs.ErrNotExist.
func readStateFile(fsys vfs.FS, name string) (*state, error) {
	b, err := readEnvelope(fsys, name, kindState)
	if err != nil {
		return nil, err
	}
	st, err := decodeState(b)
	if err != nil {
		return nil, &CorruptionError{Path: name, Err: err}
	}
	return st, nil
}

// logSize is the size of the log file at base, -1 if there is none.
func (l *Log) logSize(base int64) (int64, error) {
	i, err := l.disk.fs.Stat(l.offsetPath(base, logSuffix))
	if errors.Is(err, fs.ErrNotExist) {
		return -1, nil
	}
	if err != nil {
		return 0, fmt.Errorf("recover: %w", err)
	}
	return i.Size(), nil
}
