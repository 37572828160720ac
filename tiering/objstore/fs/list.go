package fs

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"firn/tiering/objstore"
)

// List implements objstore.Bucket.
func (b *Bucket) List(ctx context.Context, prefix, startAfter string, fn func(objstore.Info) error) error {
	l := &lister{b: b, prefix: prefix, startAfter: startAfter, fn: fn}
	// Begin in the directory that all keys with the prefix are below.
	dir := prefix[:strings.LastIndexByte(prefix, '/')+1]
	if dir != "" && objstore.CheckKey(strings.TrimSuffix(dir, "/")) != nil {
		return ctx.Err() // no key begins like that
	}
	return l.walk(ctx, dir)
}

type lister struct {
	b          *Bucket
	prefix     string
	startAfter string
	fn         func(objstore.Info) error
}

// item is an entry of a directory: an object, or a directory, whose key then ends with '/'.
type item struct {
	key   string
	entry fs.DirEntry
}

// walk lists what is below the directory of keys that begin with dir, which is empty or ends with '/'.
func (l *lister) walk(ctx context.Context, dir string) error {
	items, err := l.read(dir)
	if err != nil {
		return err
	}
	for _, it := range items {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("list %q: %w", l.prefix, err)
		}
		if it.entry.IsDir() {
			if err := l.walk(ctx, it.key); err != nil {
				return err
			}
			continue
		}
		st, err := it.entry.Info()
		if isMissing(err) {
			continue // deleted since
		}
		if err != nil {
			return fmt.Errorf("list %q: %w", l.prefix, err)
		}
		if err := l.fn(objstore.Info{Key: it.key, Size: st.Size(), Modified: st.ModTime()}); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// read returns the entries of a directory that may hold keys to list, in the order of keys: "a-" comes
// before what is in "a", for '-' comes before '/'.
func (l *lister) read(dir string) ([]item, error) {
	entries, err := l.b.fs.ReadDir(filepath.Join(l.b.root, filepath.FromSlash(escapeKey(dir))))
	if isMissing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list %q: %w", l.prefix, err)
	}
	var items []item
	for _, e := range entries {
		part, ok := unescapeName(e.Name())
		if !ok || !(e.IsDir() || e.Type().IsRegular()) {
			continue // not ours
		}
		it := item{key: dir + part, entry: e}
		wanted := strings.HasPrefix(it.key, l.prefix) && it.key > l.startAfter
		if e.IsDir() {
			it.key += "/"
			wanted = l.mayHold(it.key)
		}
		if wanted {
			items = append(items, it)
		}
	}
	slices.SortFunc(items, func(a, b item) int { return cmp.Compare(a.key, b.key) })
	return items, nil
}

// mayHold reports whether keys that begin with dir can be among those to list.
func (l *lister) mayHold(dir string) bool {
	inPrefix := strings.HasPrefix(dir, l.prefix) || strings.HasPrefix(l.prefix, dir)
	return inPrefix && (dir > l.startAfter || strings.HasPrefix(l.startAfter, dir))
}
