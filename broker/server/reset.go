package server

import (
	"errors"
	"syscall"
)

// isReset tells whether the client has torn the connection down.
func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
