package partition

// diverges reports whether the caller's log has parted from ours, or that cannot be told, and says so in p.
func (r *Replica) diverges(p *FetchPart) bool {
	epoch, end := r.log.EndOffsetFor(p.LastEpoch)
	switch {
	case p.Offset < r.logStart(): // out of range says it better
		return false
	case epoch < 0:
		p.Err = ErrOffsetOutOfRange
		return true
	case parted(p.LastEpoch, p.Offset, epoch, end):
		local := r.log.Start()
		p.HighWatermark, p.LastStable, p.LogStart = r.hw.Load(), r.hw.Load(), r.startAbove(local)
		p.Diverging = EpochEnd{Epoch: epoch, End: end}
		return true
	}
	return false
}

// parted reports whether a log whose last batch has the epoch last and that ends at offset has parted from one of which
// found and end are what segment.Log.EndOffsetFor says of that epoch.
func parted(last int32, offset int64, found int32, end int64) bool {
	return found < last || end < offset
}
