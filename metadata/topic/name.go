package topic

import (
	"errors"
	"fmt"
	"strings"
)

// MaxNameLen is the longest topic name in bytes: with a partition number behind it a name must still fit
// a file name on every file system in use.
const MaxNameLen = 249

// ErrName is wrapped by every error of ValidateName.
var ErrName = errors.New("invalid topic name")

// ValidateName reports why name cannot be a topic's name: it must have 1 to 249 characters out of ASCII
// letters, digits, '.', '_' and '-', and be neither "." nor "..".
func ValidateName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: it is empty", ErrName)
	case name == "." || name == "..":
		return fmt.Errorf("%w: %q is reserved", ErrName, name)
	case len(name) > MaxNameLen:
		return fmt.Errorf("%w: %d characters, at most %d are allowed", ErrName, len(name), MaxNameLen)
	}
	for i := range len(name) {
		if !nameByte(name[i]) {
			return fmt.Errorf("%w: %q: only ASCII letters, digits, '.', '_' and '-' are allowed", ErrName, name)
		}
	}
	return nil
}

func nameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-'
}

// CollisionKey returns name with '.' replaced by '_'. Two names with one key must not both exist, because
// metric names made of them would be the same.
func CollisionKey(name string) string { return strings.ReplaceAll(name, ".", "_") }

// MayCollide reports whether name holds a character that CollisionKey folds.
func MayCollide(name string) bool { return strings.ContainsAny(name, "._") }
