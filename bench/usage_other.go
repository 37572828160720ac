//go:build !linux

package bench

import (
	"errors"
	"os"
)

// ReadUsage reads what a process has used; that needs Linux.
func ReadUsage(int) (Usage, error) {
	return Usage{}, errors.New("usage of a process is read from /proc, which this system does not have")
}

func settle(string) error { return nil }

func dropCache(string) error { return nil }

func datasync(f *os.File) error { return f.Sync() }
