package wire

import (
	"errors"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// fileConn returns what sends files into conn, nil if conn is not a plain TCP connection.
func fileConn(conn net.Conn) syscall.RawConn {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// file sends n bytes of fd from pos. The position is always given: the file is shared, and its own
// position belongs to nobody.
func (w *Writer) file(fd uintptr, pos int64, n int) error {
	for n > 0 {
		var sent int
		var sendErr error
		w.setDeadline()
		err := w.raw.Write(func(sock uintptr) bool {
			for n > sent {
				at := pos + int64(sent)
				m, err := unix.Sendfile(int(sock), int(fd), &at, n-sent)
				switch {
				case err == nil && m > 0:
					sent += m
				case err == nil:
					sendErr = ErrShortSend
					return true
				case errors.Is(err, unix.EAGAIN):
					return false
				case !errors.Is(err, unix.EINTR):
					sendErr = err
					return true
				}
			}
			return true
		})
		pos += int64(sent)
		n -= sent
		w.fromFile += int64(sent)
		if err == nil {
			err = sendErr
		}
		if err := w.wrote(int64(sent), err); err != nil {
			return err
		}
	}
	return nil
}

// sendMore writes vec like vec.WriteTo, telling the system to wait for what follows before it sends
// the last, short packet.
func (w *Writer) sendMore(vec *net.Buffers) (int64, error) {
	var sent int64
	var sendErr error
	err := w.raw.Write(func(sock uintptr) bool {
		for len(*vec) > 0 {
			m, err := unix.SendmsgBuffers(int(sock), *vec, nil, nil, unix.MSG_MORE|unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
			switch {
			case err == nil:
				sent += int64(m)
				consume(vec, m)
			case errors.Is(err, unix.EAGAIN):
				return false
			case !errors.Is(err, unix.EINTR):
				sendErr = err
				return true
			}
		}
		return true
	})
	if err == nil {
		err = sendErr
	}
	return sent, err
}

// consume drops n bytes from the front of vec.
func consume(vec *net.Buffers, n int) {
	for len(*vec) > 0 && n >= len((*vec)[0]) {
		n -= len((*vec)[0])
		*vec = (*vec)[1:]
	}
	if n > 0 {
		(*vec)[0] = (*vec)[0][n:]
	}
}
