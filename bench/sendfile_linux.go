package bench

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// sendRange sends part of a file without bringing it into this process, from its own position, so that
// several may send from one file at once.
func sendRange(conn *net.TCPConn, f *os.File, pos, n int64) error {
	rc, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var sendErr error
	err = rc.Write(func(fd uintptr) bool {
		for n > 0 {
			sent, err := unix.Sendfile(int(fd), int(f.Fd()), &pos, int(n))
			switch {
			case errors.Is(err, unix.EAGAIN):
				return false
			case errors.Is(err, unix.EINTR):
				continue
			case err != nil:
				sendErr = fmt.Errorf("send %s: %w", f.Name(), err)
				return true
			case sent == 0:
				sendErr = fmt.Errorf("send %s: %w", f.Name(), io.ErrUnexpectedEOF)
				return true
			}
			n -= int64(sent)
		}
		return true
	})
	return errors.Join(sendErr, err)
}
