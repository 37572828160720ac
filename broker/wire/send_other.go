//go:build !linux

package wire

import (
	"errors"
	"net"
	"syscall"
)

// fileConn returns nil: files are read and written.
func fileConn(net.Conn) syscall.RawConn { return nil }

// file is not reached where fileConn returns nil.
func (w *Writer) file(uintptr, int64, int) error { return errors.ErrUnsupported }

// sendMore is not reached where fileConn returns nil.
func (w *Writer) sendMore(*net.Buffers) (int64, error) { return 0, errors.ErrUnsupported }
