package partition

// Hurry has f answered with what there is. It does not block; f must not be done and used again by then.
func (f *Fetch) Hurry() {
	f.hurried.Store(true)
	f.wake()
}

// Grown tells f that n more bytes can be read in one of its partitions, or in one that Join would add. It reports whether f
// goes on waiting. It does not block; f must not be done and used again by then.
func (f *Fetch) Grown(n int64) (waits bool) {
	switch f.state.Load() {
	case fetchWaiting:
		if f.remaining.Add(-n) > 0 {
			return true
		}
		if f.set.plug.hold(f) {
			return false
		}
	case fetchHeld:
		return false
	}
	f.wake() // it may not have begun
	return false
}

// Wake has f look again, also at what Join would add. It does not block; f must not be done and used again by then.
func (f *Fetch) Wake() { f.wake() }

// wake has f look again, once. It does not block and may be called with any lock held, for a fetch that is already
// done too.
func (f *Fetch) wake() {
	for {
		if f.state.CompareAndSwap(fetchWaiting, fetchBusy) || f.state.CompareAndSwap(fetchHeld, fetchBusy) {
			go f.again()
			return
		}
		if f.state.CompareAndSwap(fetchBusy, fetchNudged) || f.state.Load() == fetchNudged {
			return
		}
	}
}

// again is run for a fetch that waited.
func (f *Fetch) again() {
	f.leave()
	f.run()
}
