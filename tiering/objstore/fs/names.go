package fs

import (
	"strings"

	"firn/tiering/objstore"
)

// Names below a bucket's directory that are not objects. No object's file name begins with a dot.
const (
	controlName = ".firn"
	tempName    = "tmp"   // in controlName: a directory for each open bucket, with files being written
	locksName   = "locks" // in controlName: one file for each lock of keyLocks
	lockName    = "lock"  // in a directory for temporary files: held as long as its bucket is open
)

const hexDigits = "0123456789ABCDEF"

// escapeKey returns the slash-separated path of a key's file: bytes that are not plain, and a leading
// dot, as %XX. objstore.CheckKey counts on it for the length of names.
func escapeKey(key string) string {
	var b strings.Builder
	for i := range len(key) {
		c := key[i]
		leadingDot := c == '.' && (i == 0 || key[i-1] == '/')
		if c == '/' || (objstore.IsPlain(c) && !leadingDot) {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', hexDigits[c>>4], hexDigits[c&15]})
		}
	}
	return b.String()
}

// unescapeName returns the part of a key that has the given file name; false if no key has it, so that
// the file is not ours.
func unescapeName(name string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		c := name[i]
		if c == '%' {
			if i+2 >= len(name) {
				return "", false
			}
			hi, lo := strings.IndexByte(hexDigits, name[i+1]), strings.IndexByte(hexDigits, name[i+2])
			if hi < 0 || lo < 0 {
				return "", false
			}
			c = byte(hi<<4 | lo)
			i += 2
		}
		b.WriteByte(c)
	}
	part := b.String()
	// What a key would be written as is the only name that stands for it.
	return part, part != "" && !strings.Contains(part, "/") && escapeKey(part) == name
}
