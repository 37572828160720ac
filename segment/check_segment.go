package segment

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"

	"firn/segment/batch"
	"firn/segment/index"
	"firn/segment/vfs"
)

// sealed checks a sealed segment and its index.
func (p *partitionCheck) sealed(want Info) error {
	name := p.path(offsetName(want.Base, logSuffix))
	entries, err := p.sealedEntries(want)
	if err != nil {
		return err
	}
	w := segmentCheck{partitionCheck: p, base: want.Base, entries: entries, durable: math.MaxInt64, epochsTo: math.MaxInt64}
	if err := w.run(name); err != nil || w.bad {
		return err
	}
	if got := w.info; got.End != want.End || got.Size != want.Size || got.MaxTime != want.MaxTime {
		p.report(name, min(got.Size, want.Size), fmt.Sprintf("ends at offset %d, %d bytes, largest time %d; the state says %d, %d, %d",
			got.End, got.Size, got.MaxTime, want.End, want.Size, want.MaxTime), false)
	}
	return nil
}

// sealedEntries reads a sealed index; nil if there is none to be trusted, which is reported.
func (p *partitionCheck) sealedEntries(i Info) ([]index.Entry, error) {
	name := p.path(offsetName(i.Base, idxSuffix))
	x, err := index.OpenSealed(p.fs, name, index.Options{Base: i.Base, SegmentBytes: i.Size})
	if err != nil {
		return nil, p.indexFound(name, err)
	}
	return p.eachEntry(name, x)
}

func (p *partitionCheck) eachEntry(name string, x *index.Index) (entries []index.Entry, err error) {
	defer x.Close()
	err = x.Each(func(e index.Entry) error {
		entries = append(entries, e)
		return nil
	})
	if err != nil {
		return nil, p.indexFound(name, err)
	}
	return entries, nil
}

// indexFound reports that an index is damaged or missing: it is made anew from the log.
func (p *partitionCheck) indexFound(name string, err error) error {
	var ce *index.CorruptError
	switch {
	case errors.As(err, &ce):
		p.report(name, ce.Offset, ce.Reason, true)
	case errors.Is(err, fs.ErrNotExist):
		p.report(name, 0, "missing", true)
	default:
		return err
	}
	return nil
}

// active checks the active segment and as much of its index as the checkpoint vouches for.
func (p *partitionCheck) active() error {
	base := p.state.active
	w := segmentCheck{partitionCheck: p, base: base, durable: math.MaxInt64}
	var indexed int64
	switch e := p.entry; {
	case p.known && e.synced.base == base:
		w.durable, w.epochsTo, indexed = e.synced.size, e.synced.size, e.indexed
	case p.known && e.synced.base > base:
		p.report(p.path(stateName), 0, fmt.Sprintf("the state ends at segment %d, the checkpoint at %d", base, e.synced.base), false)
	case p.known:
		w.durable = 0
	}
	var err error
	if indexed > 0 {
		if w.entries, err = p.activeEntries(base, indexed, w.durable); err != nil {
			return err
		}
	}
	return w.run(p.path(offsetName(base, logSuffix)))
}

// activeEntries reads the first count entries of an index that is not sealed, from a copy: opening it
// would cut it.
func (p *partitionCheck) activeEntries(base, count, logBytes int64) ([]index.Entry, error) {
	name := p.path(offsetName(base, idxSuffix))
	b, err := vfs.ReadFile(p.fs, name, maxSmallFile)
	if err != nil {
		return nil, p.indexFound(name, err)
	}
	mem := vfs.NewMem()
	f, err := mem.Create("/idx")
	if err != nil {
		return nil, err
	}
	if _, err := f.WriteAt(b, 0); err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	x, err := index.OpenActive(mem, "/idx", index.Options{Base: base}, count, logBytes)
	if err != nil {
		return nil, p.indexFound(name, err)
	}
	return p.eachEntry(name, x)
}

// segmentCheck walks over one log file.
type segmentCheck struct {
	*partitionCheck
	base    int64
	durable int64 // bytes below were durable: bad ones are damage
	entries []index.Entry
	info    Info // what was found
	bad     bool // it ended in a bad batch, which was reported
	// epochsTo is how many bytes the state knows the leader epochs of: past the checkpoint batches may begin others.
	epochsTo int64
}

func (w *segmentCheck) run(name string) error {
	log, err := w.fs.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		w.bad = true
		w.report(name, 0, "missing", false)
		return nil
	}
	if err != nil {
		return err
	}
	defer log.Close()
	size, err := log.Size()
	if err != nil {
		return err
	}
	r := newFrames(log, 0, size, w.base, &scanBuffers)
	defer r.close()
	w.info = Info{Base: w.base, End: w.base, MaxTime: math.MinInt64}
	err = w.walk(&r)
	if errors.Is(err, ErrCorrupt) {
		w.bad = true
		return w.found(name, err, w.torn(r.pos))
	}
	if err == nil && w.durable != math.MaxInt64 && size < w.durable {
		w.bad = true
		w.report(name, size, fmt.Sprintf("%v: %d bytes were durable", errNoData, w.durable), false)
	}
	return err
}

// torn tells whether what is bad at pos is a torn tail, which recovery cuts.
func (w *segmentCheck) torn(pos int64) bool { return w.known && pos >= w.durable }

func (w *segmentCheck) walk(r *frames) error {
	epochs := epochList(w.state.epochs)
	entries := w.entries
	for {
		h, n, err := r.head()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		var head [batch.HeaderLen]byte // verify overwrites the window
		h = head[:copy(head[:], h)]
		if err := r.verify(h, n); err != nil {
			return err
		}
		switch want := epochs.at(h.BaseOffset()); {
		case h.LeaderEpoch() > epochs.last() && r.pos >= w.epochsTo:
			epochs = epochs.assign(h.LeaderEpoch(), h.BaseOffset())
		case want >= 0 && h.LeaderEpoch() != want:
			return r.bad(fmt.Errorf("%w: leader epoch %d, the state says %d", errChain, h.LeaderEpoch(), want))
		}
		r.skip(h, n)
		w.info.End, w.info.Size, w.info.MaxTime = r.next, r.pos, max(w.info.MaxTime, h.MaxTimestamp())
		entries = w.compare(entries, h.LastOffset(), r.pos)
	}
	if len(entries) > 0 {
		w.indexReport(entries[0])
	}
	return nil
}

// compare checks the index entry that speaks of the log up to pos, if there is one, and returns those
// that follow.
func (w *segmentCheck) compare(entries []index.Entry, last, pos int64) []index.Entry {
	if len(entries) == 0 || entries[0].Pos > pos {
		return entries
	}
	if e := entries[0]; e != (index.Entry{LastOffset: last, Pos: pos, MaxTime: w.info.MaxTime}) {
		w.indexReport(e)
		return nil
	}
	return entries[1:]
}

// indexReport reports an entry that is not what the log says. Lookups notice most such entries and do
// without the index, but a sealed one is not made anew by itself.
func (w *segmentCheck) indexReport(e index.Entry) {
	w.report(w.path(offsetName(w.base, idxSuffix)), 0, fmt.Sprintf("entry %+v does not agree with the log", e), false)
}
