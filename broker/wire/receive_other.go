//go:build !linux

package wire

import "io"

// readFull is io.ReadFull.
func readFull(r io.Reader, p []byte) (int, error) { return io.ReadFull(r, p) }
