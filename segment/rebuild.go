package segment

import (
	"errors"
	"fmt"
	"math"

	"firn/segment/batch"
	"firn/segment/vfs"
)

// rebuildState makes the state anew from the headers of all segments, where its file is damaged or
// missing because of cause. The segments must abut; of the last one only what is whole counts.
func (l *Log) rebuildState(f files, known *entry, cause error) (*state, error) {
	l.logger.Warn("state is rebuilt", "path", l.path(stateName), "error", cause)
	if len(f.logs) == 0 {
		return nil, &CorruptionError{Path: l.path(stateName), Err: fmt.Errorf("no state and no segments: %w", cause)}
	}
	st := &state{start: f.logs[0], active: f.logs[len(f.logs)-1]}
	for i, base := range f.logs {
		last := i == len(f.logs)-1
		info, err := l.survey(st, base)
		if err != nil && !(last && errors.Is(err, ErrCorrupt)) {
			return nil, err
		}
		if last {
			break
		}
		if info.End != f.logs[i+1] {
			return nil, &CorruptionError{
				Path: l.offsetPath(base, logSuffix), Offset: info.Size,
				Err: fmt.Errorf("%w: ends at offset %d, the next segment begins at %d", errChain, info.End, f.logs[i+1]),
			}
		}
		st.sealed = append(st.sealed, info)
	}
	if known != nil {
		st.start = max(st.start, known.start)
	}
	if err := st.validate(); err != nil {
		return nil, &CorruptionError{Path: l.path(stateName), Err: err}
	}
	return st, writeStateFile(l.disk.fs, l.path(stateName), st)
}

// survey walks over the segment at base and notes its epochs.
func (l *Log) survey(st *state, base int64) (Info, error) {
	info := Info{Base: base, End: base, MaxTime: math.MinInt64, Sealed: true}
	name := l.offsetPath(base, logSuffix)
	log, err := l.disk.fs.Open(name)
	if err != nil {
		return info, fmt.Errorf("survey: %w", err)
	}
	defer log.Close()
	size, err := log.Size()
	if err != nil {
		return info, fmt.Errorf("survey: %w", err)
	}
	err = surveyFile(log, size, st, &info)
	return info, err
}

func surveyFile(log vfs.File, size int64, st *state, info *Info) error {
	r := newFrames(log, 0, size, info.Base, &scanBuffers)
	defer r.close()
	return r.each(func(h batch.Batch, end int64) error {
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
}
