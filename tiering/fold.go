package tiering

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"time"

	"firn/tiering/manifest"
	"firn/tiering/objstore"
)

const (
	// deleteBatch is how many keys go into one Delete: what S3 takes in one request.
	deleteBatch = 1000
	// deleteTimeout bounds one.
	deleteTimeout = time.Minute
)

// View is a manifest as far as retention needs it.
type View struct {
	Head manifest.Head
	Root *manifest.Root // nil if there is none
	// Oldest are the oldest segments that are not wholly below the log start, in order: those of
	// one page, or all that are in no page.
	Oldest []manifest.Segment
	// Dead says that segments below the log start wait for a fold.
	Dead bool
}

// View reads the manifest. It costs no request while the oldest page and the root stay the same.
func (a *Archive) View(ctx context.Context) (View, error) {
	if err := a.acquire(ctx); err != nil {
		return View{}, err
	}
	defer a.release()
	if !a.state.loaded {
		if err := a.load(ctx); err != nil {
			return View{}, err
		}
	}
	v := View{Head: a.state.head}
	var err error
	if v.Root, err = a.s.tree.root(ctx, a.tp, &v.Head); err != nil {
		return View{}, err
	}
	pages, err := a.pagesToFold(ctx, &v.Head, v.Root, 1) // the first
	if err != nil {
		return View{}, err
	}
	v.Dead = manifest.Dead(v.Head, v.Root, pages)
	v.Oldest, err = a.oldest(ctx, &v.Head, v.Root)
	return v, err
}

func (a *Archive) oldest(ctx context.Context, h *manifest.Head, root *manifest.Root) ([]manifest.Segment, error) {
	visible := func(ss []manifest.Segment) []manifest.Segment {
		for len(ss) > 0 && ss[0].End < h.LogStart {
			ss = ss[1:]
		}
		return ss
	}
	var open []manifest.Segment
	if root != nil {
		for _, ref := range root.Pages {
			if ref.End < h.LogStart {
				continue
			}
			page, err := a.s.tree.page(ctx, a.tp, ref)
			if err != nil {
				return nil, err
			}
			return visible(page.Segments), nil
		}
		open = root.Open
	}
	return visible(slices.Concat(open, h.Tail)), nil
}

// pagesToFold reads the pages that a fold needs to fill so much room in the trash.
func (a *Archive) pagesToFold(ctx context.Context, h *manifest.Head, root *manifest.Root, room int) ([]manifest.Page, error) {
	refs := manifest.PagesToFold(*h, root, room)
	pages := make([]manifest.Page, 0, len(refs))
	for _, ref := range refs {
		page, err := a.s.tree.page(ctx, a.tp, ref)
		if err != nil {
			return nil, err
		}
		pages = append(pages, *page)
	}
	return pages, nil
}

// Fold moves the head's tail into a new root and what lies below the log start into the trash, as much of
// it as one root may hold. Trash that is due is deleted first, as by EmptyTrash.
func (a *Archive) Fold(ctx context.Context, now time.Time) error {
	root, err := a.newestRoot(ctx)
	if err != nil {
		return err
	}
	gone, err := a.deleteDue(ctx, root, now.UnixMilli())
	if err != nil {
		a.log.Warn("delete trash", "error", err) // it stays in the trash
	}
	return a.edit(ctx, func(ctx context.Context) (manifest.Edit, error) {
		root, err := a.s.tree.root(ctx, a.tp, &a.state.head)
		if err != nil {
			return nil, err
		}
		emptied := int64(0)
		if a.dueIsIn(gone, root, now.UnixMilli()) {
			emptied = now.UnixMilli()
		}
		return nil, a.foldRoot(ctx, root, now, emptied)
	})
}

// foldRoot folds over root. The trash that was due at emptied has been deleted. In order:
//
//  1. delete what is due of the trash, as Fold and EmptyTrash do: the manifest names it, nothing refers to it;
//  2. put the new pages, then the root that names them;
//  3. swap the head: now they count, and the old root and expired pages are trash;
//  4. tell readers without the anchor by the HEAD object.
//
// A crash before 3 leaves orphans and trash that is deleted again; after 3 a HEAD that is late.
func (a *Archive) foldRoot(ctx context.Context, root *manifest.Root, now time.Time, emptied int64) error {
	h := a.state.head
	in := manifest.FoldInput{Head: h, Root: root, Now: now.UnixMilli(), Grace: a.s.o.Grace.Milliseconds(), Emptied: emptied}
	var err error
	if in.Expired, err = a.pagesToFold(ctx, &h, root, manifest.Room(root, emptied)); err != nil {
		return err
	}
	next, gone, err := manifest.Fold(in)
	if err != nil {
		return err
	}
	ref, created, err := a.store(ctx, &next)
	if err == nil {
		var head manifest.Head
		if head, err = manifest.Apply(h, a.epoch, manifest.Folded{Root: ref, Gone: gone}); err == nil {
			err = a.swap(ctx, head)
		}
	}
	if err != nil {
		if a.neverNamed(ref) {
			a.discard(ctx, created)
		}
		return err
	}
	a.s.metrics.folds.Inc()
	a.publish(ctx, ref)
	return nil
}

// neverNamed reports whether it is certain that no head has named the root or ever will. A swap whose outcome
// was unknown may have happened with another leader's write on top of it by now: then the sequence has
// come as far as the root's, and what it was is not looked into but left to the scrubber.
func (a *Archive) neverNamed(ref manifest.RootRef) bool {
	return !a.state.pending && a.state.head.Root.Seq < ref.Seq
}

// store puts a root and the pages that it spills, and returns the keys it may have made.
func (a *Archive) store(ctx context.Context, root *manifest.Root) (ref manifest.RootRef, created []string, err error) {
	for {
		page, ok := root.Spill()
		if !ok {
			break
		}
		object, random := page.Encode(), rand.Uint32()
		key := a.s.keys.Page(a.tp, page.Ref(random, object))
		created = append(created, key)
		if err := a.put(ctx, key, object); err != nil {
			return ref, created, err
		}
		root.AddPage(page, random, object)
	}
	object := root.Encode()
	if _, err := manifest.DecodeRoot(object); err != nil { // or the head would name what nobody can read
		return ref, created, fmt.Errorf("root %d as encoded: %w", root.Seq, err)
	}
	ref = manifest.RootRef{Seq: root.Seq, LeaderEpoch: a.epoch, Rand: rand.Uint32(), Size: uint32(len(object)), CRC: manifest.Checksum(object)}
	key := a.s.keys.Root(a.tp, ref)
	created = append(created, key)
	return ref, created, a.put(ctx, key, object)
}

// putTimeout bounds one PUT of a root, a page or a HEAD, which are small: commits of the partition wait for it.
const putTimeout = time.Minute

func (a *Archive) put(ctx context.Context, key string, b []byte) error {
	ctx, cancel := context.WithTimeout(ctx, putTimeout)
	defer cancel()
	if _, err := a.s.o.Bucket.Put(ctx, key, memorySource(b), objstore.Condition{}); err != nil {
		return fmt.Errorf("put %s: %w", key, err)
	}
	return nil
}

// delete deletes at most deleteBatch objects.
func (a *Archive) delete(ctx context.Context, keys []string) error {
	ctx, cancel := context.WithTimeout(ctx, deleteTimeout)
	defer cancel()
	return a.s.o.Bucket.Delete(ctx, keys...)
}

// discard deletes objects that nothing names, as far as that works.
func (a *Archive) discard(ctx context.Context, keys []string) {
	if len(keys) == 0 {
		return
	}
	if err := a.delete(ctx, keys); err != nil {
		a.log.Debug("delete orphans", "error", err) // the scrubber finds them
	}
}

// publish writes the HEAD object: a hint that may be late or missing.
func (a *Archive) publish(ctx context.Context, ref manifest.RootRef) {
	b, err := json.Marshal(struct {
		Seq  uint64 `json:"seq"`
		Root string `json:"root"`
		Size uint32 `json:"size"`
		CRC  uint32 `json:"crc32c"`
	}{ref.Seq, a.s.keys.Root(a.tp, ref), ref.Size, ref.CRC})
	if err == nil {
		err = a.put(ctx, a.s.keys.Head(a.tp), append(b, '\n'))
	}
	if err != nil {
		a.log.Debug("publish root", "error", err)
	}
}

// manyRoots is how many old roots are worth a fold, which makes another one.
const manyRoots = 64

// due returns the keys of the trash whose grace is over, and whether that is worth a fold: a few old roots are not.
func (a *Archive) due(root *manifest.Root, now int64) (keys []string, worth bool) {
	if root == nil {
		return nil, false
	}
	for _, t := range root.Trash {
		if t.DeleteAfter <= now {
			keys = append(keys, a.s.keys.Trash(a.tp, t))
			worth = worth || t.Kind != manifest.TrashRoot
		}
	}
	return keys, worth || len(keys) >= manyRoots
}

// deleteDue deletes the trash that is due and returns its keys, after an error those that are gone for certain.
func (a *Archive) deleteDue(ctx context.Context, root *manifest.Root, now int64) ([]string, error) {
	keys, _ := a.due(root, now)
	for i := 0; i < len(keys); i += deleteBatch {
		if err := a.delete(ctx, keys[i:min(i+deleteBatch, len(keys))]); err != nil {
			return keys[:i], err
		}
	}
	a.s.metrics.deleted.Add(float64(len(keys)))
	return keys, nil
}

// dueIsIn reports whether all that is due of root's trash is among what has been deleted.
func (a *Archive) dueIsIn(gone []string, root *manifest.Root, now int64) bool {
	in := make(map[string]bool, len(gone))
	for _, key := range gone {
		in[key] = true
	}
	keys, _ := a.due(root, now)
	return !slices.ContainsFunc(keys, func(key string) bool { return !in[key] })
}

// EmptyTrash deletes the trash that is due and takes it out of the manifest, if that is worth a fold. It
// returns how many objects were deleted. In order:
//
//  1. delete: what a committed root calls trash stays that, so no edit has to wait for it;
//  2. fold over the root that is the newest then. Had another fold come first, that may have trash which was not deleted and
//     would be due as well: then all waits for the next time.
func (a *Archive) EmptyTrash(ctx context.Context, now time.Time) (deleted int, err error) {
	root, err := a.newestRoot(ctx)
	if err != nil {
		return 0, err
	}
	if _, worth := a.due(root, now.UnixMilli()); !worth {
		return 0, nil
	}
	gone, err := a.deleteDue(ctx, root, now.UnixMilli())
	if err != nil {
		return len(gone), err
	}
	return len(gone), a.edit(ctx, func(ctx context.Context) (manifest.Edit, error) {
		root, err := a.s.tree.root(ctx, a.tp, &a.state.head)
		if root == nil || err != nil {
			return nil, err
		}
		if _, worth := a.due(root, now.UnixMilli()); !worth || !a.dueIsIn(gone, root, now.UnixMilli()) {
			return nil, nil
		}
		return nil, a.foldRoot(ctx, root, now, now.UnixMilli())
	})
}

// newestRoot returns the root of the head as known, nil if it has none.
func (a *Archive) newestRoot(ctx context.Context) (*manifest.Root, error) {
	if err := a.acquire(ctx); err != nil {
		return nil, err
	}
	defer a.release()
	if !a.state.loaded {
		if err := a.load(ctx); err != nil {
			return nil, err
		}
	}
	if a.fenced.Load() {
		return nil, ErrFenced
	}
	return a.s.tree.root(ctx, a.tp, &a.state.head)
}

// memorySource is bytes in memory as an objstore.Source.
type memorySource []byte

func (m memorySource) Size() int64 { return int64(len(m)) }

func (m memorySource) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off > int64(len(m)) {
		return 0, errors.New("read outside of the source")
	}
	n := copy(p, m[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}
