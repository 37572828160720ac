//go:build linux || darwin

package objtest

import "golang.org/x/sys/unix"

func hasUserAttributes(path string) bool {
	return unix.Setxattr(path, "user.firn-probe", []byte("x"), 0) == nil
}
