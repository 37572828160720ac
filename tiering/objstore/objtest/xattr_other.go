//go:build !linux && !darwin

package objtest

func hasUserAttributes(string) bool { return false }
