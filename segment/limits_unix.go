//go:build unix

package segment

import "golang.org/x/sys/unix"

// processFiles is how many descriptors this process may have. The runtime has raised the soft limit to
// the hard one already.
func processFiles() int {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		return assumedFiles
	}
	return int(min(uint64(r.Cur), maxBudget))
}
