package segment

import (
	"fmt"
	"sort"

	"firn/segment/batch"
)

// Epoch says that the batches from offset Start on, up to the next Epoch's, have this leader epoch.
type Epoch struct {
	Epoch int32
	Start int64
}

// epochList is a list of epochs that rises in both fields. Lists are not changed in place.
type epochList []Epoch

// last is the newest epoch, -1 if there is none.
func (es epochList) last() int32 {
	if len(es) == 0 {
		return -1
	}
	return es[len(es)-1].Epoch
}

// assign starts epoch at offset start, in place of epochs that would have begun there or later.
func (es epochList) assign(epoch int32, start int64) epochList {
	kept := es.below(start)
	return append(kept[:len(kept):len(kept)], Epoch{Epoch: epoch, Start: start})
}

// below is the epochs that start below end: those of a log that ends there.
func (es epochList) below(end int64) epochList {
	return es[:sort.Search(len(es), func(i int) bool { return es[i].Start >= end })]
}

// from is the epochs in force at start or later.
func (es epochList) from(start int64) epochList {
	i := sort.Search(len(es), func(i int) bool { return es[i].Start > start })
	return es[max(i-1, 0):]
}

// at is the epoch of the batch at offset, -1 if none is known.
func (es epochList) at(offset int64) int32 { return es.below(offset + 1).last() }

// Epochs are the leader epochs of the log, rising in both fields. The slice must not be changed.
func (l *Log) Epochs() []Epoch { return *l.epochs.Load() }

// LastEpoch is the leader epoch of the last batch, or of the one before the log's start if it is empty; -1 if that is
// not known. An epoch that was assigned and has no batch yet does not count.
func (l *Log) LastEpoch() int32 { return epochList(l.Epochs()).below(l.Next()).last() }

// EpochsBelow are the epochs that begin below offset.
func (l *Log) EpochsBelow(offset int64) []Epoch { return epochList(l.Epochs()).below(offset) }

// AssignEpoch starts a leader epoch at the log's end. It does no IO: the epoch is durable with its first batch,
// which carries it, and forgotten by a restart before that. An epoch equal to the last is
// no change, a lower one is refused with ErrSequence.
func (l *Log) AssignEpoch(epoch int32) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.writable(); err != nil {
		return err
	}
	have := epochList(l.Epochs())
	switch last := have.last(); {
	case epoch == last:
		return nil
	case epoch < last:
		return fmt.Errorf("%w: leader epoch %d after %d", ErrSequence, epoch, last)
	}
	st := l.st.clone()
	st.epochs = have.assign(epoch, l.Next())
	l.applyState(st)
	return nil
}

// beginEpochs takes in the epochs of the batches about to be written. The batches carry them: until the state file has
// them, too, the checkpoint stays below, so that recovery comes by. mu is held.
func (l *Log) beginEpochs(bs []batch.Batch) {
	have := epochList(l.Epochs())
	st := l.st
	for _, b := range bs {
		if e := b.LeaderEpoch(); e > have.last() {
			have = have.assign(e, b.BaseOffset())
			st = l.st.clone()
			st.epochs = have
		}
	}
	if st != l.st {
		l.applyState(st)
	}
	l.pos.Lock()
	defer l.pos.Unlock()
	if !l.pos.held {
		l.pos.held, l.pos.heldAt, l.pos.heldIndexed = true, l.pos.synced, l.pos.indexed
	}
}

// stateEpochs is saveEpochs for a log that is in use.
func (l *Log) stateEpochs() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.closed || l.disk.Offline() != nil {
		return nil
	}
	return l.saveEpochs()
}

// saveEpochs brings the epochs that batches have into the state file, which lets the checkpoint go on. A full disk leaves
// things as they are. mu is held.
func (l *Log) saveEpochs() error {
	l.pos.Lock()
	held := l.pos.held
	l.pos.Unlock()
	if !held {
		return nil
	}
	return l.writeState(l.st)
}

// EndOffsetFor answers as Kafka's OffsetForLeaderEpoch does: the largest known epoch that is not above
// epoch, and where it ends. It is -1, -1 if epoch is above all known ones or none is known; below all
// known ones it is epoch itself and the first's Start.
func (l *Log) EndOffsetFor(epoch int32) (found int32, end int64) {
	return epochList(l.Epochs()).endFor(epoch, l.Next())
}

func (es epochList) endFor(epoch int32, next int64) (found int32, end int64) {
	above := sort.Search(len(es), func(i int) bool { return es[i].Epoch > epoch })
	switch {
	case epoch < 0 || len(es) == 0:
		return -1, -1
	case above == 0:
		return epoch, es[0].Start
	case above == len(es) && es[above-1].Epoch == epoch:
		return epoch, next
	case above == len(es):
		return -1, -1
	}
	return es[above-1].Epoch, es[above].Start
}
