package partition

import (
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"sync/atomic"
	"time"

	"firn/metadata/topic"
	"firn/segment"
	"firn/tiering/manifest"
)

// Replica is one hosted partition replica. Safe for concurrent use.
type Replica struct {
	tp        topic.Partition
	set       *Set
	disk      *segment.Disk
	log       *segment.Log // nil if it could not be opened; then broken says why
	broken    error
	producers *producers
	logger    *slog.Logger

	leadership longLock // one change of role, settings or tier head at a time
	retaining  longLock // local segments are dropped by settings that stand meanwhile
	queue      appendQueue
	append     appender
	waiters    waiters
	schedule   schedule // the maintenance loop's

	role    atomic.Pointer[role]
	config  atomic.Pointer[topic.Config]
	head    atomic.Pointer[manifest.Head]
	upload  atomic.Pointer[Upload]
	fetcher atomic.Pointer[Fetcher]
	closed  atomic.Pointer[error] // why every call fails, once the replica is closed or its disk gone
	damage  atomic.Pointer[error] // what is wrong with the local log, once that is known

	// The topic's settings name this replica: see throttle.go.
	throttledLeader, throttledFollower atomic.Bool

	hw       atomic.Int64
	floor    atomic.Int64  // a log start that DeleteRecords has made durable
	appended atomic.Uint64 // bytes appended since the replica was opened
	visible  atomic.Uint64 // those of them below the high watermark
	changes  atomic.Uint64 // grows when waiting fetches have to look again for another reason than bytes
	notified atomic.Int64  // high watermark that the upload was last told
	reported atomic.Int64  // when corruption was last logged, Unix seconds
}

// Partition names the partition.
func (r *Replica) Partition() topic.Partition { return r.tp }

// Disk is the disk the replica lies on.
func (r *Replica) Disk() *segment.Disk { return r.disk }

// Log is the local log, nil if it could not be opened. Its changing methods are the Replica's alone to call.
func (r *Replica) Log() *segment.Log { return r.log }

// Err returns why the replica serves nothing, nil while it does.
func (r *Replica) Err() error { return r.failure() }

// Reopens says that the log could not be opened, but may be by another Open: it is not damaged, and its disk is there. A
// full disk is such a reason.
func (r *Replica) Reopens() bool {
	return r.broken != nil && r.closed.Load() == nil && !errors.Is(r.broken, segment.ErrCorrupt) && r.disk.Offline() == nil
}

// Damage returns what is wrong with the bytes of the local log, an ErrCorruptData or ErrStorage that names the place; nil
// while nothing is known to be. The replica goes on with what is good, if it could be opened.
func (r *Replica) Damage() error {
	if e := r.damage.Load(); e != nil {
		return *e
	}
	return nil
}

// SetConfig makes the topic's new settings take effect.
func (r *Replica) SetConfig(c topic.Config) {
	r.leadership.Lock()
	defer r.leadership.Unlock()
	if *r.config.Load() == c {
		return
	}
	r.configure(c)
	if r.log == nil {
		return
	}
	r.log.SetSettings(settings(r.tp, c))
	r.log.Commit() // what was appended relaxed may have somebody waiting for durability now
	var done doneList
	r.advance(&done)
	r.notifyUpload()
	done.complete()
	if r.set.opts.InSync != nil {
		r.set.opts.InSync.Propose(r) // with another min.insync.replicas nobody may be eligible any more
	}
	r.set.kick(r)
}

// SetTierHead takes in a tier head of the partition, which need not be newer than the last. It keeps h.
func (r *Replica) SetTierHead(h *manifest.Head) {
	r.leadership.Lock()
	defer r.leadership.Unlock()
	if old := r.head.Load(); old != nil && !newerHead(h, old) {
		return
	}
	r.head.Store(h)
	r.wakeFetches()
	r.set.kick(r)
}

// TierHead is the last tier head taken in, nil if there is none. It is read-only.
func (r *Replica) TierHead() *manifest.Head { return r.head.Load() }

// newerHead compares by what never falls.
func newerHead(h, old *manifest.Head) bool {
	if h.TierEnd != old.TierEnd {
		return h.TierEnd > old.TierEnd
	}
	if h.LogStart != old.LogStart {
		return h.LogStart > old.LogStart
	}
	return h.WriterEpoch > old.WriterEpoch || h.WriterEpoch == old.WriterEpoch && h.Root.Seq >= old.Root.Seq
}

// SetUpload names who archives the replica, nil for nobody.
func (r *Replica) SetUpload(u Upload) {
	if u == nil {
		r.upload.Store(nil)
		return
	}
	r.upload.Store(&u)
	u.HighWatermark(r.hw.Load())
}

// notifyUpload passes the high watermark on. It is called without locks.
func (r *Replica) notifyUpload() {
	u := r.upload.Load()
	if u == nil {
		return
	}
	if hw := r.hw.Load(); r.notified.Swap(hw) != hw {
		(*u).HighWatermark(hw)
	}
}

// Roll seals the active segment if it holds anything.
func (r *Replica) Roll() error {
	if err := r.failure(); err != nil {
		return err
	}
	r.append.Lock()
	defer r.append.Unlock()
	return r.storageError("roll", r.log.Roll(segment.RollTier))
}

// Offsets is where a replica stands.
type Offsets struct {
	LogStart      int64 // first offset to be read, in either tier
	LocalStart    int64 // first offset on this disk
	TierEnd       int64 // offset behind the last archived record, -1 where nothing is archived
	LastStable    int64
	HighWatermark int64
	Durable       int64 // end of what a power cut cannot take from this disk
	LogEnd        int64
}

// Offsets returns where the replica stands. The values are not of one instant.
func (r *Replica) Offsets() Offsets {
	o := Offsets{TierEnd: -1}
	if r.log != nil {
		o.LocalStart = r.log.Start()
		o.HighWatermark = r.hw.Load()
		o.Durable, o.LogEnd = r.log.Durable(), r.log.Next()
	}
	o.LastStable, o.LogStart = o.HighWatermark, r.logStart()
	if h := r.head.Load(); archived(h) {
		o.TierEnd = h.TierEnd
	}
	return o
}

// archived reports whether a head describes any records.
func archived(h *manifest.Head) bool { return h != nil && h.TierEnd > h.LogStart }

// logStart is the first offset anybody may read.
func (r *Replica) logStart() int64 {
	start := r.floor.Load()
	if r.log != nil {
		start = r.startAbove(r.log.Start())
	}
	return start
}

// startAbove is the log start where the local log begins at local, which must have been read before.
func (r *Replica) startAbove(local int64) int64 {
	h := r.head.Load()
	start := r.floor.Load()
	if h != nil {
		start = max(start, h.LogStart)
	}
	if !archived(h) {
		start = max(start, local)
	}
	return start
}

// Size returns the bytes on the local disk.
func (r *Replica) Size() int64 {
	if r.log == nil {
		return 0
	}
	return r.log.Size()
}

// Producers returns the idempotent producers the replica remembers, by id.
func (r *Replica) Producers() []Producer { return r.producers.list() }

// Producer is an idempotent producer as DescribeProducers shows it.
type Producer struct {
	ID            int64
	Epoch         int16
	LastSequence  int32
	LastTimestamp int64 // ms since 1970
}

// failure returns why the replica serves nothing, nil while it does.
func (r *Replica) failure() error {
	if e := r.closed.Load(); e != nil {
		return *e
	}
	return r.broken
}

// onDurable is the disk's committer saying that everything below end survives a power cut.
func (r *Replica) onDurable(int64) {
	var done doneList
	r.advance(&done)
	r.notifyUpload()
	done.complete()
	r.tellFetcher()
}

// tellFetcher has the leader told where the replica is.
func (r *Replica) tellFetcher() {
	if f := r.fetcher.Load(); f != nil {
		(*f).Moved(r)
	}
}

// onFailure is the disk saying that it is offline, or that the log was closed as it could not be changed.
func (r *Replica) onFailure(err error) {
	r.shut(fmt.Errorf("%w: %w", ErrStorage, err))
	if r.set.opts.InSync != nil {
		r.set.opts.InSync.Propose(r)
	}
	r.producers.forget() // they count for all disks together
}

// shut makes every call fail with err from now on. What the disk still made durable is acknowledged before.
func (r *Replica) shut(err error) {
	var done doneList
	r.advance(&done)
	r.closed.CompareAndSwap(nil, &err)
	r.failWaiters(err, true, &done)
	done.complete()
}

// close closes the log, making it durable first, and makes every call fail with why from now on. What the disk still makes durable
// is acknowledged.
func (r *Replica) close(why error) error {
	r.append.Lock() // once it is free nothing is being appended: the log's last snapshot has all producers of what it holds
	r.closed.CompareAndSwap(nil, &why)
	r.append.Unlock()
	var err error
	if r.log != nil {
		err = r.log.Close()
	}
	r.shut(why)
	return err
}

// noteFetches has whoever fetches next told of the log start.
func (r *Replica) noteFetches() {
	r.waiters.Lock()
	defer r.waiters.Unlock()
	r.waiters.fetches.noted(nil)
	r.waiters.followers.noted(nil)
}

func (r *Replica) wakeFetches() {
	r.waiters.Lock()
	defer r.waiters.Unlock()
	r.changedLocked()
}

// settings are what the log has to know of a topic's settings. Jitter is drawn from the partition's name, so that it is
// the same after each start.
func settings(tp topic.Partition, c topic.Config) segment.Settings {
	h := fnv.New32a()
	_, _ = h.Write(tp.ID[:])
	share := float64(h.Sum32()^uint32(tp.Index)*2654435761) / (1 << 32)
	jitter := int64(share * float64(c.Segment.JitterMs))
	return segment.Settings{
		SegmentBytes:  int64(c.Segment.Bytes),
		SegmentAge:    milliseconds(max(1, c.Segment.Ms-jitter)),
		IndexInterval: max(1, int64(c.Segment.IndexIntervalBytes)),
		FlushMessages: c.Flush.Messages,
		FlushInterval: milliseconds(max(1, c.Flush.Ms)),
	}
}

// milliseconds converts a setting, whose range is larger than a Duration's.
func milliseconds(ms int64) time.Duration {
	const most = int64(1<<63-1) / int64(time.Millisecond)
	return time.Duration(min(ms, most)) * time.Millisecond
}
