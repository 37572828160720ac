package partition

import (
	"sync"

	"firn/metadata/topic"
	"firn/segment/batch"
)

// Acknowledgements that a producer may ask for.
const (
	AcksAll    = -1 // every in-sync replica has the batch
	AcksNone   = 0
	AcksLeader = 1 // the leader has it; on a durable topic, on its disk
)

// Completion is told how an append ended. It is called exactly once for each append, from whichever
// goroutine and perhaps before Append returns, with no lock held; it must not block.
type Completion interface {
	AppendDone(a *Append)
}

// Append is one batch on its way into one replica. The caller owns it and may reuse it once its completion has been
// called; it must not be copied or touched in between.
type Append struct {
	// Records is the produced record set, which has to be exactly one batch. It may be rewritten in place, and is
	// not touched any more once the completion was called or Replica.Append has returned.
	Records []byte
	// Acks is one of the constants above.
	Acks int16
	// NoZstd says that the request's version may not carry zstd.
	NoZstd bool
	Done   Completion

	// The outcome, valid once the completion is called.
	Err error
	// BaseOffset is the offset of the first record, of the original batch where this one is a duplicate; -1 on
	// error.
	BaseOffset int64
	// LogAppendTime is the broker's timestamp in ms where the topic has log append time, else -1.
	LogAppendTime int64
	// LogStart is the partition's first offset, -1 if it is not known.
	LogStart int64
	// RecordErrors name the records that made the batch invalid, at most maxRecordErrors of them.
	RecordErrors []RecordError

	batch   batch.Batch
	scratch *[]byte // pooled memory batch lies in if it was recompressed
	end     int64   // offset to be reached
	queued  *ackQueue
	next    *Append
	prev    *Append
}

// RecordError is one record's fault.
type RecordError struct {
	Index   int32 // of the record in its batch
	Message string
}

// appender is what the append lock guards.
type appender struct {
	sync.Mutex
	taken  uint64 // appends ever taken from the queue
	active int64  // base offset of the active segment as last seen

	// Reused from group to group.
	group   []*Append
	staged  []*Append
	batches []batch.Batch
	next    int64 // offset of the next batch to be staged
}

// Append checks a batch, appends it, and calls its completion when what a.Acks asks for has come about. It writes
// before it returns but never waits for a sync or for another broker.
func (r *Replica) Append(a *Append) {
	var done doneList
	if err := r.checkAppend(a); err != nil {
		a.LogStart = r.logStart()
		r.refuse(a, err, &done)
		done.complete()
		return
	}
	ticket := r.queue.push(a)
	r.append.Lock()
	for r.append.taken < ticket {
		r.appendGroupLocked(&done)
	}
	r.append.Unlock()
	// From here on a may be gone: another goroutine may have completed it.
	r.notifyUpload()
	done.complete()
}

// checkAppend does what can be done without the append lock.
func (r *Replica) checkAppend(a *Append) error {
	a.Err, a.RecordErrors = nil, nil
	a.BaseOffset, a.LogAppendTime, a.LogStart = -1, -1, -1
	a.scratch, a.queued = nil, nil
	if a.Acks < AcksAll || a.Acks > AcksLeader {
		return ErrAcks
	}
	if err := r.failure(); err != nil {
		return err
	}
	return r.checkBatch(a, r.config.Load(), r.set.opts.Now().UnixMilli())
}

// appendGroupLocked appends what is queued, up to a group, under the append lock.
func (r *Replica) appendGroupLocked(done *doneList) {
	ap := &r.append
	ap.group = r.queue.take(ap.group[:0])
	ap.taken += uint64(len(ap.group))
	ro, conf := r.role.Load(), r.config.Load()
	logStart, now := r.logStart(), r.set.opts.Now().UnixMilli()
	if r.log != nil {
		ap.next = r.log.Next()
	}
	for i, a := range ap.group {
		ap.group[i] = nil
		a.LogStart = logStart
		if err := r.admit(ro, conf, a); err != nil {
			r.producers.miss(a.batch)
			r.refuse(a, err, done)
			continue
		}
		r.stageLocked(ro, conf, a, now, done)
	}
	r.writeLocked(done)
	r.advance(done) // also for a duplicate whose original is committed already
}

// admit says whether a leader in its present state may take a.
func (r *Replica) admit(ro *role, conf *topic.Config, a *Append) error {
	switch {
	case r.failure() != nil:
		return r.failure()
	case !ro.leads, !mayServe(r.set.registered(ro), ro.others, conf.UncleanElection, a.Acks, func() bool { return r.held(ro) }):
		return ErrNotLeader
	case a.Acks == AcksAll && len(ro.isr) < minInSync(conf.MinInsync, len(ro.replicas)):
		return ErrNotEnoughReplicas
	}
	return nil
}

// stageLocked stamps a and adds it to the group's write, unless its producer's sequence says otherwise.
func (r *Replica) stageLocked(ro *role, conf *topic.Config, a *Append, now int64, done *doneList) {
	b, ap := a.batch, &r.append
	if b.ProducerID() >= 0 {
		for _, s := range ap.staged {
			if s.batch.ProducerID() == b.ProducerID() {
				r.writeLocked(done) // the check below has to know of it
				break
			}
		}
		dup, isDup, err := r.producers.check(b, int64(r.set.opts.MaxProducers))
		switch {
		case err != nil:
			r.refuse(a, err, done)
			return
		case isDup:
			r.answerDuplicate(conf, a, dup, done)
			return
		}
	}
	b.SetBaseOffset(ap.next)
	b.SetLeaderEpoch(ro.epoch)
	if conf.Timestamp.LogAppendTime {
		b.SetLogAppendTime(now)
		a.LogAppendTime = now
	}
	a.BaseOffset, a.end = ap.next, b.NextOffset()
	ap.next = a.end
	ap.staged = append(ap.staged, a)
	ap.batches = append(ap.batches, b)
}

// answerDuplicate makes a wait for the batch that it repeats: a retry must not be told of a success that a power cut
// can still undo.
func (r *Replica) answerDuplicate(conf *topic.Config, a *Append, dup produced, done *doneList) {
	r.set.met.duplicates.Inc()
	a.BaseOffset, a.end = dup.lastOffset-int64(dup.delta), dup.lastOffset+1
	if conf.Timestamp.LogAppendTime {
		a.LogAppendTime = dup.timestamp
	}
	a.dropScratch()
	a.batch = nil
	r.await(a, done)
}

func (r *Replica) refuse(a *Append, err error, done *doneList) {
	r.set.met.refused.Inc()
	a.dropScratch()
	a.batch = nil
	done.add(a, err)
}

// writeLocked writes what is staged and lets it wait for its acknowledgement.
func (r *Replica) writeLocked(done *doneList) {
	ap := &r.append
	if len(ap.staged) == 0 {
		return
	}
	err := r.putLocked()
	if err != nil {
		ap.next = r.log.Next()
		for _, b := range ap.batches {
			r.producers.miss(b)
		}
	}
	for i, a := range ap.staged {
		ap.staged[i], ap.batches[i] = nil, nil
		a.dropScratch()
		a.batch = nil
		if err != nil {
			r.set.met.refused.Inc()
			done.add(a, err)
			continue
		}
		r.await(a, done)
	}
	ap.staged, ap.batches = ap.staged[:0], ap.batches[:0]
}

// putLocked writes the staged batches, under the append lock.
func (r *Replica) putLocked() error {
	ap, w := &r.append, &r.waiters
	size := 0
	for _, b := range ap.batches {
		size += len(b)
	}
	// The commit point comes first: the disk may be done, and the high watermark past the batches, before Append returns.
	point := commitPoint{end: ap.batches[len(ap.batches)-1].NextOffset(), written: r.appended.Load() + uint64(size)}
	w.Lock()
	w.commits.push(point)
	w.Unlock()
	if _, err := r.log.Append(ap.batches); err != nil {
		w.Lock()
		w.commits.cut(r.log.Next())
		w.Unlock()
		return r.storageError("append", err)
	}
	w.Lock()
	r.appended.Store(point.written)
	w.followers.grown(int64(size))
	w.Unlock()
	r.takeInLocked(size)
	return nil
}

// takeInLocked notes that the staged batches, of so many bytes, are in the log.
func (r *Replica) takeInLocked(size int) {
	ap, met := &r.append, r.set.met
	records := 0
	for _, b := range ap.batches {
		if b.ProducerID() >= 0 {
			r.producers.Apply(b)
		}
		records += int(b.NumRecords())
	}
	met.appendBytes.Add(float64(size))
	met.appendBatches.Add(float64(len(ap.batches)))
	met.appendRecords.Add(float64(records))

	base, _, _ := r.log.Active()
	if base == ap.batches[0].BaseOffset() {
		r.set.kick(r) // the segment has its first batch: it has an age from now on
	}
	if base != ap.active {
		ap.active = base
		if u := r.upload.Load(); u != nil {
			(*u).Sealed()
		}
	}
}

// await puts a written append where its acknowledgement will find it, by the settings of now: it may have been written by those.
func (r *Replica) await(a *Append, done *doneList) {
	w := &r.waiters
	if a.Acks == AcksNone || a.Acks == AcksLeader && !r.config.Load().Flush.Durable() {
		done.add(a, nil)
		return
	}
	w.Lock()
	defer w.Unlock()
	if err := w.failed; err != nil {
		done.add(a, err)
		return
	}
	if a.queued = &w.all; a.Acks == AcksLeader {
		a.queued = &w.local
	}
	a.queued.add(a)
}

// Cancel gives up waiting for a, which must be one that was handed to Append, and completes it with ErrTimeout unless
// it is complete already. What it wrote stays written.
func (r *Replica) Cancel(a *Append) {
	w := &r.waiters
	w.Lock()
	waiting := a.queued != nil
	if waiting {
		a.queued.remove(a)
	}
	w.Unlock()
	if waiting {
		r.set.met.timeouts.Inc()
		var done doneList
		done.add(a, ErrTimeout)
		done.complete()
	}
}
