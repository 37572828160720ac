package partition

import (
	"math"
	"sync"
)

const (
	// maxGroupBatches and maxGroupBytes bound what one write takes from the append queue, and so how long a
	// reader that holds the append lock works for others.
	maxGroupBatches = 64
	maxGroupBytes   = 1 << 20
	// maxGroupOffsets is what one write to a segment may span. A compressed batch can claim that many by itself; it
	// must not be the reason to refuse those that it meets.
	maxGroupOffsets = math.MaxInt32
)

// appendQueue is where appends line up. Its order is the order of the log.
type appendQueue struct {
	sync.Mutex
	head, tail *Append
	pushed     uint64 // appends ever pushed
}

// push enters a and returns its ticket: a is in the log, or refused, once that many were taken.
func (q *appendQueue) push(a *Append) uint64 {
	a.next = nil
	q.Lock()
	defer q.Unlock()
	if q.tail == nil {
		q.head = a
	} else {
		q.tail.next = a
	}
	q.tail = a
	q.pushed++
	return q.pushed
}

// take moves a group's worth of appends to group.
func (q *appendQueue) take(group []*Append) []*Append {
	q.Lock()
	defer q.Unlock()
	size, offsets := 0, int64(0)
	for a := q.head; a != nil && len(group) < maxGroupBatches; a = q.head {
		size += len(a.batch)
		offsets += int64(a.batch.LastOffsetDelta()) + 1
		if (size > maxGroupBytes || offsets > maxGroupOffsets) && len(group) > 0 {
			break
		}
		if q.head = a.next; q.head == nil {
			q.tail = nil
		}
		a.next = nil
		group = append(group, a)
	}
	return group
}
