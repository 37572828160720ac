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
	// maxPartBytes is what file systems, and the stores that keep plain files, take for one name.
	maxPartBytes = 255
)

// CheckKey returns an error that wraps ErrInvalidKey unless every driver can store the key: 1 to
// MaxKeyBytes bytes of printable UTF-8 without backslash, its '/'-separated parts neither empty nor
// "." nor ".." nor longer than 255 bytes.
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
		if part == "" || part == "." || part == ".." || len(part) > maxPartBytes {
			return fmt.Errorf("%w: %q has the part %q", ErrInvalidKey, key, part)
		}
	}
	return nil
}
