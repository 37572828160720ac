package partition

// mayServe says whether a leader may acknowledge appends. While its registration stands it may. Without it a leader goes on if
// no other replica can be elected cleanly; with unclean elections any can, so it stops. With others, acks=all goes on:
// that needs them, and they follow whoever leads now. So does the rest while held says that they still follow us, and those
// who may be in sync without our having heard of it yet.
func mayServe(registered bool, others int, unclean bool, acks int16, held func() bool) bool {
	switch {
	case registered:
		return true
	case others == 0 && unclean:
		return false
	}
	return acks == AcksAll || !unclean && held()
}

// minInSync is how many in-sync replicas acks=all takes: min.insync.replicas, but never more than there are replicas.
func minInSync(setting int32, replicas int) int { return max(1, min(int(setting), replicas)) }
