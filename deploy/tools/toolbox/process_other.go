//go:build !linux

package toolbox

import "syscall"

// Other systems have no such bond; there the cleanup of the test is what ends the server.
func dieWithParent() *syscall.SysProcAttr { return nil }
