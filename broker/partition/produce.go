package partition

import (
	"sync/atomic"
	"time"
)

// Produce is one batch each for any number of partitions, acknowledged together. The caller owns it until Set.Produce
// and again once Done is called. It may then be used again.
type Produce struct {
	// Timeout is how long acknowledgements may take; what does not come in time ends with ErrTimeout.
	Timeout time.Duration
	Parts   []ProducePart
	// Done is called exactly once, perhaps before Set.Produce returns, with no lock held. It must not block.
	Done func(*Produce)

	set   *Set
	left  atomic.Int32 // parts without an outcome, and one for Set.Produce itself
	timed bool         // the alarm was set
	ends  atomic.Int32 // of the two that have to end before Done if the alarm rings: the parts, the alarm
	alarm alarm
}

// ProducePart is one partition's append.
type ProducePart struct {
	// Replica may be nil if Append.Err is set already.
	Replica *Replica
	Append  Append
}

var _ Completion = (*Produce)(nil)

// Produce appends all parts and calls p.Done when each is acknowledged, failed or out of time. It does not wait, and keeps no
// records.
func (s *Set) Produce(p *Produce) {
	p.set, p.timed = s, false
	p.ends.Store(0)
	p.left.Store(int32(len(p.Parts)) + 1)
	if p.alarm.ring == nil {
		p.alarm.ring = p.expire
	}
	s.appendAll(p)
	if p.left.Load() > 1 {
		p.timed = true
		s.wheel.set(&p.alarm, p.Timeout)
	}
	p.AppendDone(nil)
}

// appendAll appends all parts. Who waits for the records of one hears of those of the others at the same time.
func (s *Set) appendAll(p *Produce) {
	plugged := 0
	if len(p.Parts) > 1 {
		defer s.plug.end(s.plug.begin())
	}
	for i := range p.Parts {
		part := &p.Parts[i]
		if plugged += len(part.Append.Records); plugged > plugBytes {
			s.plug.release()
			plugged = len(part.Append.Records)
		}
		part.Append.Done = p
		if part.Replica == nil {
			p.AppendDone(&part.Append)
		} else {
			part.Replica.Append(&part.Append)
		}
		part.Append.Records = nil // or all that they came in would be kept for as long as the others take
	}
}

// AppendDone implements Completion.
func (p *Produce) AppendDone(*Append) {
	if p.left.Add(-1) != 0 {
		return
	}
	// Either the alarm is stopped before it rings, or it may be at work on the parts now.
	if !p.timed || p.set.wheel.stop(&p.alarm) || p.ends.Add(1) == 2 {
		p.Done(p)
	}
}

// expire gives up what is not acknowledged. The wheel calls it.
func (p *Produce) expire() {
	for i := range p.Parts {
		if part := &p.Parts[i]; part.Replica != nil {
			part.Replica.Cancel(&part.Append)
		}
	}
	if p.ends.Add(1) == 2 {
		p.Done(p)
	}
}
