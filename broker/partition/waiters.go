package partition

import (
	"math"
	"sync"
	"time"

	"firn/metadata/topic"
)

// waiters is everybody who waits for a replica's watermarks to rise.
type waiters struct {
	sync.Mutex
	all       ackQueue // acks=all, by the high watermark
	local     ackQueue // acks=1 on durable topics, by the durable end
	commits   commitRing
	fetches   watchList
	followers watchList // other replicas' fetches, which wait for the log's end
	toldEpoch int32     // leader epoch at which a follower was told of a high watermark
	told      int64     // that high watermark
	failed    error     // set once the disk failed or the replica was closed: nobody may wait any more
}

// commitPoint says that the log ended at offset end once written bytes had been appended.
type commitPoint struct {
	end     int64
	written uint64
}

// maxCommitPoints bounds a commitRing: the high watermark may stand still for days while too few are in sync.
const maxCommitPoints = 4096

// keptCommitPoints is what an empty ring has room for at most: of many thousand replicas each may have been full.
const keptCommitPoints = 256

// commitRing is a queue of commit points above the high watermark. From it follows how many bytes an advance of the
// watermark has let readers see; where points are missing it is known later, or waiting fetches have to look themselves.
type commitRing struct {
	points []commitPoint // length is a power of two or 0
	first  int
	n      int
}

func (c *commitRing) push(p commitPoint) {
	if c.n == maxCommitPoints {
		// The last one counts what the one before did. It stays: should this append fail, it says what there is without it.
		mask := len(c.points) - 1
		c.points[(c.first+c.n-2)&mask] = c.points[(c.first+c.n-1)&mask]
		c.n--
	}
	if c.n == len(c.points) {
		grown := make([]commitPoint, max(16, 2*len(c.points)))
		for i := range c.n {
			grown[i] = c.points[(c.first+i)&(len(c.points)-1)]
		}
		c.points, c.first = grown, 0
	}
	c.points[(c.first+c.n)&(len(c.points)-1)] = p
	c.n++
}

// pop forgets the points up to offset end and returns the last one's bytes; ok is false if there is none.
func (c *commitRing) pop(end int64) (written uint64, ok bool) {
	for c.n > 0 {
		p := c.points[c.first]
		if p.end > end {
			break
		}
		written, ok = p.written, true
		c.first = (c.first + 1) & (len(c.points) - 1)
		c.n--
	}
	c.shrink()
	return written, ok
}

// cut forgets the points above offset end: the log was cut there.
func (c *commitRing) cut(end int64) {
	for c.n > 0 && c.points[(c.first+c.n-1)&(len(c.points)-1)].end > end {
		c.n--
	}
	c.shrink()
}

func (c *commitRing) shrink() {
	if c.n == 0 && len(c.points) > keptCommitPoints {
		*c = commitRing{}
	}
}

// advance raises the high watermark as far as it goes, moves the appends that completes to done, and counts waiting
// fetches down. It may be called with the append lock held.
func (r *Replica) advance(done *doneList) {
	if r.log == nil {
		return
	}
	w := &r.waiters
	w.Lock()
	defer w.Unlock()
	// Nothing of this may be older than the lock: once another leads the log may have been cut.
	ro, conf := r.role.Load(), r.config.Load()
	if !ro.leads {
		r.followToldLocked()
		return
	}
	if w.failed != nil {
		return
	}
	durable := r.log.Durable()
	own := durable
	if !conf.Flush.Durable() {
		own = r.log.Next()
	}
	var now time.Time
	if len(ro.isr) < len(ro.replicas) { // else it does not matter
		now = time.Now()
	}
	hw := ro.quorum.highWatermark(r.hw.Load(), own, minInSync(conf.MinInsync, len(ro.replicas)), r.set.opts.ReplicaLag, now)
	r.raiseHighWatermarkLocked(hw)
	if w.all.head != nil {
		// Of a topic that has just become durable the high watermark, which never falls, may be ahead of the disk.
		w.all.pop(min(hw, own), r.mayAcknowledgeLocked(ro, conf, AcksAll), done)
	}
	if w.local.head != nil {
		w.local.pop(durable, r.mayAcknowledgeLocked(ro, conf, AcksLeader), done)
	}
}

// raiseHighWatermarkLocked lets readers see what lies below hw, under the waiters' lock.
func (r *Replica) raiseHighWatermarkLocked(hw int64) {
	w := &r.waiters
	raised := hw > r.hw.Load()
	if raised {
		r.hw.Store(hw)
		r.log.SetHighWatermark(hw)
		w.followers.noted(r.role.Load().quorum)
	}
	switch written, ok := w.commits.pop(hw); {
	case ok:
		w.fetches.grown(int64(written - r.visible.Swap(written)))
	case raised: // over what was there before the replica was opened
		r.changes.Add(1)
		w.fetches.changed()
	}
}

// mayAcknowledgeLocked returns ErrNotLeader if others may be led by somebody else by now. It is asked at the moment of
// the acknowledgement: the process may have stood still since the append.
func (r *Replica) mayAcknowledgeLocked(ro *role, conf *topic.Config, acks int16) error {
	if mayServe(r.set.registered(ro), ro.others, conf.UncleanElection, acks, func() bool { return r.heldLocked(ro) }) {
		return nil
	}
	return ErrNotLeader
}

// held reports whether all who could lead instead still follow this leader.
func (r *Replica) held(ro *role) bool {
	r.waiters.Lock()
	defer r.waiters.Unlock()
	return r.heldLocked(ro)
}

func (r *Replica) heldLocked(ro *role) bool {
	return ro.quorum.held(time.Now(), r.set.opts.HoldOver, false)
}

// failWaiters completes every append that is not committed with err and has all fetches look again. With final set
// nobody may wait here ever after.
func (r *Replica) failWaiters(err error, final bool, done *doneList) {
	w := &r.waiters
	w.Lock()
	defer w.Unlock()
	if final && w.failed == nil {
		w.failed = err
	}
	w.all.pop(math.MaxInt64, err, done)
	w.local.pop(math.MaxInt64, err, done)
	r.changedLocked()
}

// failAcksAll tells those who wait for all in-sync replicas that these have become too few: the high watermark stands
// still until there are more, and their batches may be committed then.
func (r *Replica) failAcksAll(done *doneList) {
	r.waiters.Lock()
	defer r.waiters.Unlock()
	r.waiters.all.pop(math.MaxInt64, ErrNotEnoughReplicasAfterAppend, done)
}

// changedLocked has all waiting fetches look again, under the waiters' lock.
func (r *Replica) changedLocked() {
	r.changes.Add(1)
	r.waiters.fetches.changed()
	r.waiters.followers.changed()
}
