package fs

import (
	"path/filepath"
	"strings"
	"testing"

	"firn/tiering/objstore"
)

// Every key has a file of its own below the directory, and its name leads back to the key.
func FuzzEscapeKey(f *testing.F) {
	for _, key := range []string{"a", "a/b.c", ".hidden", "..a/.b", "%41", "ü/日本", "a b+c", strings.Repeat("k", 255)} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		if objstore.CheckKey(key) != nil {
			t.Skip()
		}
		path := escapeKey(key)
		if !filepath.IsLocal(path) || filepath.Clean(path) != path {
			t.Fatalf("%q becomes %q", key, path)
		}
		var parts []string
		for name := range strings.SplitSeq(path, "/") {
			part, ok := unescapeName(name)
			if !ok || name[0] == '.' || len(name) > 255 {
				t.Fatalf("%q becomes %q, whose part %q is no name", key, path, name)
			}
			parts = append(parts, part)
		}
		if got := strings.Join(parts, "/"); got != key {
			t.Fatalf("%q comes back as %q", key, got)
		}
	})
}

// No file stands for two keys, nor two files for one.
func FuzzUnescapeName(f *testing.F) {
	for _, name := range []string{"a", "%2E", "%2e", "%", "%4", "%41", ".", "..", "%2F", "%00"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		part, ok := unescapeName(name)
		if ok && escapeKey(part) != name {
			t.Fatalf("%q stands for %q, whose name is %q", name, part, escapeKey(part))
		}
	})
}
