package bench

import "time"

// Usage is what a process has used so far.
type Usage struct {
	CPU     time.Duration // user and system
	RSS     int64         // bytes
	PeakRSS int64         // bytes, since its start
}

// gib is what processor time is given per.
const gib = 1 << 30

// cpuPerGiB is the processor time from before to after in seconds for each GiB of n bytes.
func cpuPerGiB(before, after Usage, n int64) float64 {
	if n == 0 {
		return 0
	}
	return (after.CPU - before.CPU).Seconds() / (float64(n) / gib)
}
