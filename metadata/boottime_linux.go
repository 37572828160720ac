package metadata

import (
	"time"

	"golang.org/x/sys/unix"
)

// bootTime returns the time since the machine started, time asleep included: Go's monotonic clock stops in
// suspend, so by it a lease would look valid after a night with the lid closed.
func bootTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("metadata: CLOCK_BOOTTIME: " + err.Error()) // since Linux 2.6.39
	}
	return time.Duration(ts.Nano())
}
