//go:build !linux

package bench

import (
	"io"
	"net"
	"os"
)

func sendRange(conn *net.TCPConn, f *os.File, pos, n int64) error {
	_, err := io.Copy(conn, io.NewSectionReader(f, pos, n))
	return err
}
