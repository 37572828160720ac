package objstore

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// MaxKeyBytes leaves half of S3's 1,024 bytes for a bucket's prefix.
	MaxKeyBytes = 512
	// maxNameBytes is what file systems, and the stores that keep plain files, take for one name.
	maxNameBytes = 255
)

// IsPlain reports whether a byte of a key stands for itself in the name of a file. Others are written
// as %XX by the driver fs, for some file system treats them in a way of its own.
func IsPlain(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-_.,=@", c) >= 0
}

// CheckKey returns an error that wraps ErrInvalidKey unless every driver can store the key: 1 to
// MaxKeyBytes bytes of printable UTF-8 without backslash, its '/'-separated parts neither empty nor
// "." nor ".." nor longer than 255 bytes, where bytes that are not plain, and a leading dot, count
// three.
func CheckKey(key string) error {
	switch {
	case key == "":
		return fmt.Errorf("%w: empty", ErrInvalidKey)
	case len(key) > MaxKeyBytes:
		return fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrInvalidKey, len(key), MaxKeyBytes)
	case !utf8.ValidString(key):
		return fmt.Errorf("%w: %q is not UTF-8", ErrInvalidKey, key)
	}
	for _, r := range key {
		if r == '\\' || r == utf8.RuneError || !unicode.IsGraphic(r) {
			return fmt.Errorf("%w: %q holds %q", ErrInvalidKey, key, r)
		}
	}
	for part := range strings.SplitSeq(key, "/") {
		if part == "" || part == "." || part == ".." || nameBytes(part) > maxNameBytes {
			return fmt.Errorf("%w: %q has the part %q", ErrInvalidKey, key, part)
		}
	}
	return nil
}

// nameBytes is the length of the file name of a key's part.
func nameBytes(part string) int {
	n := len(part)
	for i := range len(part) {
		if !IsPlain(part[i]) || (i == 0 && part[i] == '.') {
			n += 2
		}
	}
	return n
}
