package objtest

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"firn/tiering/objstore"
)

func testOddKeys(t *testing.T, b objstore.Bucket) {
	keys := []string{
		"plain",
		"with space/ and more ",
		"plus+plus/a+b",
		"per%cent/%2F/%25/%zz/%00",
		"query?x=1&y=2#frag",
		`quotes"and'more`,
		"<xml>&amp;</xml>",
		"colon:semi;comma,at@tilde~",
		"paren(s)[b]{c}|^`$!*=",
		".hidden/..dots/...",
		"dots.../a..b/c.",
		"-dash/--/_",
		"ümläut/日本語/кириллица/🦊",
		"e\u0301 and \u00e9",
		"UPPER/lower",
		"~tilde/#hash",
		strings.Repeat("long", 50) + "/" + strings.Repeat("k", 200),
		"AUX/con/nul.txt",
	}
	for _, key := range keys {
		put(t, b, key, []byte("bytes of "+key))
	}
	slices.Sort(keys)
	if got := list(t, b, "", ""); !slices.Equal(got, keys) {
		t.Errorf("list: %q\nwant %q", got, keys)
	}
	for i, key := range keys {
		want(t, b, key, []byte("bytes of "+key))
		if got := list(t, b, key, ""); !slices.Equal(got, []string{key}) {
			t.Errorf("list %q: %q", key, got)
		}
		if got := list(t, b, "", key); !slices.Equal(got, keys[i+1:]) {
			t.Errorf("list after %q: %q, want %q", key, got, keys[i+1:])
		}
	}
	if err := b.Delete(t.Context(), keys...); err != nil {
		t.Fatal(err)
	}
	if got := list(t, b, "", ""); len(got) != 0 {
		t.Errorf("left after delete: %q", got)
	}
}

func testInvalidKeys(t *testing.T, b objstore.Bucket) {
	put(t, b, "there", []byte("x"))
	keys := []string{
		"", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/..", "a/../b", "a/./b", "./a",
		"a\x00b", "a\nb", "a\x7fb", "a\xffb", `a\b`, "a\u2028b", "a\ufffdb",
		strings.Repeat("k", 256), strings.Repeat(" ", 86) + "k", strings.Repeat("k/", 256) + "k",
	}
	for _, key := range keys {
		_, errPut := b.Put(t.Context(), key, bytes.NewReader(nil), objstore.Condition{})
		_, errGet := b.Get(t.Context(), key, 0, -1)
		_, errHead := b.Head(t.Context(), key)
		errDelete := b.Delete(t.Context(), "there", key)
		for verb, err := range map[string]error{"put": errPut, "get": errGet, "head": errHead, "delete": errDelete} {
			if !errors.Is(err, objstore.ErrInvalidKey) {
				t.Errorf("%s %q: %v, want invalid key", verb, key, err)
			}
		}
	}
	if got := list(t, b, "", ""); !slices.Equal(got, []string{"there"}) {
		t.Errorf("list: %q", got)
	}
}
