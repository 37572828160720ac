package segment

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"

	"firn/segment/batch"
	"firn/segment/vfs"
)

// rebuildState makes the state anew where its file is damaged or missing because of cause.
func (l *Log) rebuildState(f files, known *entry, cause error) (*state, error) {
	l.logger.Warn("state is rebuilt", "path", l.path(stateName), "error", cause)
	st, err := survey(l.disk.fs, l.dir, f, known)
	if err != nil {
		return nil, err
	}
	return st, writeStateFile(l.disk.fs, l.path(stateName), st)
}

// survey makes a state from the headers of all segments. The segments must abut; of the last one only
// what is whole counts.
func survey(fsys vfs.FS, dir string, f files, known *entry) (*state, error) {
	name := filepath.Join(dir, stateName)
	if len(f.logs) == 0 {
		return nil, &CorruptionError{Path: name, Err: errors.New("neither a state nor segments")}
	}
	st := &state{start: f.logs[0], active: f.logs[len(f.logs)-1]}
	for i, base := range f.logs {
		last := i == len(f.logs)-1
		path := filepath.Join(dir, offsetName(base, logSuffix))
		info, err := surveySegment(fsys, path, base, st)
		if err != nil && !(last && errors.Is(err, ErrCorrupt)) {
			return nil, err
		}
		if last {
			break
		}
		if info.End != f.logs[i+1] {
			return nil, &CorruptionError{
				Path: path, Offset: info.Size,
				Err: fmt.Errorf("%w: ends at offset %d, the next segment begins at %d", errChain, info.End, f.logs[i+1]),
			}
		}
		st.sealed = append(st.sealed, info)
	}
	if known != nil {
		st.start = max(st.start, known.start)
	}
	if err := st.validate(); err != nil {
		return nil, &CorruptionError{Path: name, Err: err}
	}
	return st, nil
}

// surveySegment walks over one segment and notes its epochs.
func surveySegment(fsys vfs.FS, path string, base int64, st *state) (Info, error) {
	info := Info{Base: base, End: base, MaxTime: math.MinInt64, Sealed: true}
	log, err := fsys.Open(path)
	if err != nil {
		return info, fmt.Errorf("survey: %w", err)
	}
	defer log.Close()
	size, err := log.Size()
	if err != nil {
		return info, fmt.Errorf("survey: %w", err)
	}
	r := newFrames(log, 0, size, base, &scanBuffers)
	defer r.close()
	err = r.each(func(h batch.Batch, end int64) error {
		switch e, last := h.LeaderEpoch(), epochList(st.epochs).last(); {
		case e < last:
			return r.bad(fmt.Errorf("%w: leader epoch %d after %d", errChain, e, last))
		case e > last:
			st.epochs = append(st.epochs, Epoch{Epoch: e, Start: h.BaseOffset()})
		}
		info.End, info.Size = h.NextOffset(), end
		info.MaxTime = max(info.MaxTime, h.MaxTimestamp())
		return nil
	})
	return info, err
}
