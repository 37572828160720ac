package wire

import (
	"errors"
	"io"
	"net"

	"golang.org/x/sys/unix"
)

// wakeBytes is how much of a large frame has to have arrived for its reader to be woken. A reader that has nothing else to do is woken
// for each packet, and whoever sends pays for it: of what a leader spent on sending to its followers that was half.
const wakeBytes = 1 << 20

// readFull is io.ReadFull. Of a plain TCP connection, which nobody else may read at the time, it waits for much at once
// (SO_RCVLOWAT); what arrives meanwhile it has all the same.
func readFull(r io.Reader, p []byte) (n int, err error) {
	tcp, ok := r.(*net.TCPConn)
	if !ok {
		return io.ReadFull(r, p)
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return 0, err
	}
	least := 1
	wake := func(sock uintptr, bytes int) {
		if bytes != least && unix.SetsockoptInt(int(sock), unix.SOL_SOCKET, unix.SO_RCVLOWAT, bytes) == nil {
			least = bytes // where a system has no such thing, the reader is woken more often
		}
	}
	var readErr error
	err = raw.Read(func(sock uintptr) bool {
		for n < len(p) && readErr == nil {
			m, err := unix.Read(int(sock), p[n:])
			switch {
			case err == nil && m > 0:
				n += m
			case err == nil:
				readErr = io.ErrUnexpectedEOF
			case errors.Is(err, unix.EAGAIN):
				wake(sock, min(len(p)-n, wakeBytes))
				return false
			case !errors.Is(err, unix.EINTR):
				readErr = err
			}
		}
		return true
	})
	if err == nil {
		err = readErr
	}
	if err == nil && least > 1 {
		err = raw.Control(func(sock uintptr) { wake(sock, 1) })
	}
	return n, err
}
