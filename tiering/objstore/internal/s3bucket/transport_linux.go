package s3bucket

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// limitUnacknowledged has the kernel end a connection whose bytes nobody has acknowledged for silence.
func limitUnacknowledged(_, _ string, c syscall.RawConn) error {
	var err error
	cerr := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(silence.Milliseconds()))
	})
	if cerr != nil {
		return cerr
	}
	return err
}
