package segment

import (
	"fmt"
	"math"
)

// state is what a partition's state file says: which segments there are and what cannot be read from
// them at a glance. It is replaced atomically at each roll, drop, new epoch, reset and truncation below the
// active segment, and so it is the commit point of those.
type state struct {
	start  int64 // first offset served
	active int64 // base of the segment appended to
	epochs []Epoch
	sealed []Info // contiguous, the last ends at active

	// A truncation or reset that is under way. Recovery carries it through.
	pending   pending
	pendingAt int64
	producers []byte // snapshot at pendingAt, of a reset
}

type pending uint8

const (
	pendingNone pending = iota
	// pendingTruncate: files above the active segment go, the active one is cut at offset pendingAt.
	pendingTruncate
	// pendingReset: all segment files go and an empty one is made at pendingAt.
	pendingReset
)

const (
	stateEpochSize  = 4 + 8
	stateSealedSize = 4 * 8
)

func (s *state) encode() []byte {
	b := make([]byte, 0, 64+len(s.epochs)*stateEpochSize+len(s.sealed)*stateSealedSize+len(s.producers))
	b = appendI64(b, s.start)
	b = appendI64(b, s.active)
	b = append(b, byte(s.pending))
	b = appendI64(b, s.pendingAt)
	b = appendBytes(b, s.producers)
	b = appendU32(b, uint32(len(s.epochs)))
	for _, e := range s.epochs {
		b = appendU32(b, uint32(e.Epoch))
		b = appendI64(b, e.Start)
	}
	b = appendU32(b, uint32(len(s.sealed)))
	for _, i := range s.sealed {
		b = appendI64(b, i.Base)
		b = appendI64(b, i.End)
		b = appendI64(b, i.Size)
		b = appendI64(b, i.MaxTime)
	}
	return b
}

func decodeState(b []byte) (*state, error) {
	d := decoder{b: b}
	s := &state{start: d.i64(), active: d.i64(), pending: pending(d.u8()), pendingAt: d.i64()}
	if p := d.bytes(); len(p) > 0 {
		s.producers = p
	}
	for range d.count(stateEpochSize) {
		s.epochs = append(s.epochs, Epoch{Epoch: int32(d.u32()), Start: d.i64()})
	}
	for range d.count(stateSealedSize) {
		s.sealed = append(s.sealed, Info{
			Base: d.i64(), End: d.i64(), Size: d.i64(), MaxTime: d.i64(), Sealed: true,
		})
	}
	if err := d.err(); err != nil {
		return nil, err
	}
	return s, s.validate()
}

// validate checks what every other part relies on.
func (s *state) validate() error {
	if s.start < 0 || s.active < 0 || s.pendingAt < 0 || s.pending > pendingReset {
		return fmt.Errorf("%w: start %d, active %d, pending %d at %d", errPayload, s.start, s.active, s.pending, s.pendingAt)
	}
	for i, e := range s.epochs {
		if e.Epoch < 0 || e.Start < 0 || i > 0 && (e.Epoch <= s.epochs[i-1].Epoch || e.Start <= s.epochs[i-1].Start) {
			return fmt.Errorf("%w: epochs do not rise at %d", errPayload, i)
		}
	}
	for i, g := range s.sealed {
		end := s.active
		if i+1 < len(s.sealed) {
			end = s.sealed[i+1].Base
		}
		if g.Base < 0 || g.End <= g.Base || g.End != end || g.Size <= 0 || g.Size > math.MaxInt32 {
			return fmt.Errorf("%w: segment %d [%d, %d) of %d bytes", errPayload, i, g.Base, g.End, g.Size)
		}
	}
	return nil
}

// clone copies what a change may append to or cut.
func (s *state) clone() *state {
	c := *s
	c.epochs = append([]Epoch(nil), s.epochs...)
	c.sealed = append([]Info(nil), s.sealed...)
	return &c
}

// clearPending is the state once its truncation or reset is done.
func (s *state) clearPending() *state {
	c := s.clone()
	c.pending, c.pendingAt, c.producers = pendingNone, 0, nil
	return c
}
