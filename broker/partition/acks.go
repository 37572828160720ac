package partition

// ackQueue holds appends that were written and wait for their end offset to be reached, in the order of their ends:
// what a rising watermark completes is always a prefix. It is a list through the appends themselves, so waiting
// costs no memory. Not safe for concurrent use.
type ackQueue struct {
	head, tail *Append
}

// add puts a in its place. An append goes to the back; a duplicate belongs before those written after its original.
func (q *ackQueue) add(a *Append) {
	after := q.tail
	for after != nil && after.end > a.end {
		after = after.prev
	}
	a.prev = after
	if after == nil {
		a.next, q.head = q.head, a
	} else {
		a.next, after.next = after.next, a
	}
	if a.next == nil {
		q.tail = a
	} else {
		a.next.prev = a
	}
}

// remove takes a, which is in q, out.
func (q *ackQueue) remove(a *Append) {
	if a.prev == nil {
		q.head = a.next
	} else {
		a.prev.next = a.next
	}
	if a.next == nil {
		q.tail = a.prev
	} else {
		a.next.prev = a.prev
	}
	a.next, a.prev, a.queued = nil, nil, nil
}

// pop moves those whose end is at most reached to done, in order, with the outcome err.
func (q *ackQueue) pop(reached int64, err error, done *doneList) {
	for a := q.head; a != nil && a.end <= reached; a = q.head {
		q.remove(a)
		done.add(a, err)
	}
}

// doneList collects appends whose outcome is known until the locks are gone and their completions can be called.
type doneList struct {
	head, tail *Append
}

// add appends a with its outcome.
func (l *doneList) add(a *Append, err error) {
	if a.Err = err; err != nil {
		a.BaseOffset, a.LogAppendTime = -1, -1
	}
	if l.tail == nil {
		l.head = a
	} else {
		l.tail.next = a
	}
	a.next, l.tail = nil, a
}

// complete calls the completions in order and empties the list.
func (l *doneList) complete() {
	for a := l.head; a != nil; {
		next := a.next // a is its owner's again once it is told
		a.next = nil
		a.Done.AppendDone(a)
		a = next
	}
	*l = doneList{}
}
