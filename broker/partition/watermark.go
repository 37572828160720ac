package partition

// highWatermark returns the offset below which every record is on all in-sync replicas, at least hw, where it stood.
// ends are the log ends of the in-sync replicas: of a durable topic their durable ends. While there are fewer of
// them than minISR it is frozen, so that nothing is committed which too few disks have.
func highWatermark(hw int64, ends []int64, minISR int) int64 {
	if len(ends) == 0 || len(ends) < minISR {
		return hw
	}
	low := ends[0]
	for _, e := range ends[1:] {
		low = min(low, e)
	}
	return max(hw, low)
}

// mayServe says whether a leader may acknowledge appends. While its lease holds it may. Without it a leader alone in
// the in-sync set goes on, because nobody else can be elected cleanly; with unclean elections somebody can, so it
// stops. With others in the set only acks=all goes on: those need the others, who follow whoever leads now.
func mayServe(leaseValid bool, isr int, unclean bool, acks int16) bool {
	if leaseValid {
		return true
	}
	if isr <= 1 {
		return !unclean
	}
	return acks == AcksAll
}

// minInSync is how many in-sync replicas acks=all takes: min.insync.replicas, but never more than there are replicas.
func minInSync(setting int32, replicas int) int { return max(1, min(int(setting), replicas)) }
