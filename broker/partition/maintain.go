package partition

import (
	"math"
	"time"

	"firn/metadata/topic"
	"firn/segment"
	"firn/tiering"
)

// maintain does what is due on one replica and returns how long nothing will be by the passing of time alone.
func (r *Replica) maintain(now time.Time) time.Duration {
	interval := r.set.opts.MaintenanceInterval
	if r.failure() != nil {
		return interval
	}
	r.producers.expire(now.Add(-r.set.opts.ProducerExpiry).UnixMilli())
	conf, start := r.config.Load(), r.log.Start()
	r.followLogStart()
	r.rollByAge(conf, now)
	r.retain(now)
	if r.log.Start() != start {
		r.tellFetcher()
	}
	next := min(interval, r.untilRoll(conf, now), r.untilExpiry(conf, now))
	if next <= 0 {
		return interval // what is due could not be done
	}
	return next
}

// followLogStart makes the local log begin no earlier than the partition does.
func (r *Replica) followLogStart() {
	start := min(r.logStart(), r.hw.Load())
	if start <= r.log.Start() {
		return
	}
	if err := r.log.SetStart(start); err != nil {
		r.logger.Warn("log start is not raised", "to", start, "error", r.storageError("set start", err))
	}
}

// rollByAge seals the active segment if it is old, or if all of it has expired so that it can go.
func (r *Replica) rollByAge(conf *topic.Config, now time.Time) {
	r.append.Lock()
	defer r.append.Unlock()
	err := r.log.RollIfDue(now)
	if err == nil && r.activeExpired(conf, now) {
		err = r.log.Roll(segment.RollRetention)
	}
	if err != nil {
		r.logger.Warn("segment is not sealed", "error", r.storageError("roll", err))
		return
	}
	if base, _, _ := r.log.Active(); base != r.append.active {
		r.append.active = base
		if u := r.upload.Load(); u != nil {
			(*u).Sealed()
		}
	}
}

// activeExpired reports whether total retention by time has run out for the whole active segment of an untiered log.
func (r *Replica) activeExpired(conf *topic.Config, now time.Time) bool {
	if r.tiered(conf) || !conf.Cleanup.Delete || conf.Retention.Ms < 0 {
		return false
	}
	all := r.log.Segments()
	if len(all) == 0 {
		return false // closed meanwhile
	}
	active := all[len(all)-1]
	return active.Size > 0 && active.End <= r.hw.Load() && expiry(active.MaxTime, conf.Retention.Ms) < now.UnixMilli()
}

// tiered reports whether local bytes are a copy of what the tier has or will have. What nobody uploads expires here.
func (r *Replica) tiered(conf *topic.Config) bool {
	return conf.Tier.Enabled && !conf.Tier.CopyDisabled || archived(r.head.Load())
}

// expires reports whether the total retention of an untiered log is this replica's to apply. Followers let go what their leader
// has: the next leader's log must begin where the tier ends at the latest, if object storage is switched on.
func (r *Replica) expires(conf *topic.Config) bool { return conf.Cleanup.Delete && r.role.Load().leads }

// expiry is when a segment expires, in ms since 1970. Records without timestamps never do.
func expiry(maxTime, retentionMs int64) int64 {
	if maxTime < 0 || retentionMs < 0 || maxTime > math.MaxInt64-retentionMs {
		return math.MaxInt64
	}
	return maxTime + retentionMs
}

// retain drops the local segments that nobody needs here any more. Settings do not change meanwhile: what may expire of a log that nobody
// uploads must not once it is uploaded, and could begin before the drop.
func (r *Replica) retain(now time.Time) {
	r.retaining.Lock()
	defer r.retaining.Unlock()
	conf := r.config.Load()
	if r.role.Load().epoch < 0 {
		return // just opened: what the tier has of it is told before its role
	}
	all := r.log.Segments()
	if len(all) == 0 {
		return // closed meanwhile
	}
	floor := tiering.LocalFloor(r.localView(conf, all), now)
	if first := all[0]; !first.Sealed || floor < first.End {
		return
	}
	bytes, err := r.log.DropBefore(floor, r.logStart())
	if bytes > 0 {
		r.noteFetches()
		r.set.met.droppedBytes.Add(float64(bytes))
		r.logger.Debug("local segments are dropped", "below", floor, "bytes", bytes, "start", r.log.Start())
	}
	if err != nil {
		r.logger.Warn("local segments are not dropped", "below", floor, "error", r.storageError("drop", err))
	}
}

// localView is what decides about local bytes, in the segments all. Of a tiered partition nothing goes that the head, which was read from
// the key space, does not prove to be in the tier.
func (r *Replica) localView(conf *topic.Config, all []segment.Info) tiering.LocalView {
	v := tiering.LocalView{
		Tiered:        r.tiered(conf),
		HighWatermark: r.hw.Load(),
		RetentionMs:   -1, RetentionBytes: -1,
	}
	if h := r.head.Load(); h != nil {
		v.TierEnd, v.LogStart = h.TierEnd, h.LogStart
	}
	v.LogStart = max(v.LogStart, r.floor.Load())
	switch {
	case v.Tiered:
		v.RetentionMs, v.RetentionBytes = conf.Tier.LocalMs, conf.Tier.LocalBytes
		if u, err := r.disk.Usage(); err == nil {
			v.DiskLow = u.Fullness >= segment.Low
		}
	case r.expires(conf):
		v.RetentionMs, v.RetentionBytes = conf.Retention.Ms, conf.Retention.Bytes
	}
	for _, s := range all[:len(all)-1] {
		maxTime := s.MaxTime
		if maxTime < 0 {
			maxTime = math.MaxInt64
		}
		v.Sealed = append(v.Sealed, tiering.LocalSegment{Base: s.Base, End: s.End - 1, Size: s.Size, MaxTime: maxTime})
	}
	v.ActiveBytes = all[len(all)-1].Size
	return v
}

// untilRoll is how long the active segment may still grow.
func (r *Replica) untilRoll(conf *topic.Config, now time.Time) time.Duration {
	_, size, since := r.log.Active()
	if size == 0 {
		return math.MaxInt64
	}
	return since.Add(settings(r.tp, *conf).SegmentAge).Sub(now)
}

// untilExpiry is how long until the oldest local segment expires by time.
func (r *Replica) untilExpiry(conf *topic.Config, now time.Time) time.Duration {
	limit := conf.Retention.Ms
	all := r.log.Segments()
	switch {
	case len(all) == 0:
		return math.MaxInt64 // closed meanwhile
	case r.tiered(conf):
		if limit = conf.Tier.LocalMs; len(all) == 1 {
			return math.MaxInt64
		}
		if h := r.head.Load(); h == nil || h.TierEnd < all[0].End {
			return math.MaxInt64 // SetTierHead kicks
		}
	case !r.expires(conf):
		return math.MaxInt64
	}
	at := expiry(all[0].MaxTime, limit)
	if at == math.MaxInt64 {
		return math.MaxInt64
	}
	return milliseconds(at-now.UnixMilli()) + time.Millisecond
}
