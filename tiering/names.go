package tiering

import (
	"context"

	"firn/tiering/manifest"
)

// References returns the keys of all objects that the manifest names, the trash included, with the head
// that names them, read from the anchor.
func (a *Archive) References(ctx context.Context) (map[string]bool, manifest.Head, error) {
	if err := a.acquire(ctx); err != nil {
		return nil, manifest.Head{}, err
	}
	defer a.release()
	if err := a.load(ctx); err != nil {
		return nil, manifest.Head{}, err
	}
	h := a.state.head
	root, err := a.s.tree.root(ctx, a.tp, &h)
	if err != nil {
		return nil, h, err
	}
	keys := a.namesOutsidePages(&h, root)
	if root == nil {
		return keys, h, nil
	}
	for _, ref := range root.Pages {
		page, err := a.s.tree.page(ctx, a.tp, ref)
		if err != nil {
			return nil, h, err
		}
		for _, s := range page.Segments {
			keys[a.s.keys.Segment(a.tp, s)] = true
		}
	}
	return keys, h, nil
}

// Touch writes the head as it is. After it no swap that was sent earlier can happen any more.
func (a *Archive) Touch(ctx context.Context) error {
	done := false
	return a.edit(ctx, func(context.Context) (manifest.Edit, error) {
		if done {
			return nil, nil // another write came first, which does as well
		}
		done = true
		return manifest.Fence{}, nil
	})
}

// Unnamed reads the head from the anchor and returns those of a partition's keys, segments, roots and pages,
// that the manifest does not name, not even as trash.
func (a *Archive) Unnamed(ctx context.Context, keys []string) (unnamed []string, h manifest.Head, err error) {
	if err := a.acquire(ctx); err != nil {
		return nil, h, err
	}
	defer a.release()
	if err := a.load(ctx); err != nil {
		return nil, h, err
	}
	h = a.state.head
	root, err := a.s.tree.root(ctx, a.tp, &h)
	if err != nil {
		return nil, h, err
	}
	named := a.namesOutsidePages(&h, root)
	for _, key := range keys {
		if named[key] {
			continue
		}
		in, err := a.inPage(ctx, root, key)
		if err != nil {
			return nil, h, err
		}
		if !in {
			unnamed = append(unnamed, key)
		}
	}
	return unnamed, h, nil
}

// namesOutsidePages returns the keys that head and root name.
func (a *Archive) namesOutsidePages(h *manifest.Head, root *manifest.Root) map[string]bool {
	k := a.s.keys
	named := map[string]bool{}
	for _, s := range h.Tail {
		named[k.Segment(a.tp, s)] = true
	}
	if root == nil {
		return named
	}
	named[k.Root(a.tp, h.Root)] = true
	for _, s := range root.Open {
		named[k.Segment(a.tp, s)] = true
	}
	for _, p := range root.Pages {
		named[k.Page(a.tp, p)] = true
	}
	for _, t := range root.Trash {
		named[k.Trash(a.tp, t)] = true
	}
	return named
}

func (a *Archive) inPage(ctx context.Context, root *manifest.Root, key string) (bool, error) {
	s, ok := a.s.keys.ParseSegment(a.tp, key)
	if !ok || root == nil {
		return false, nil
	}
	for _, ref := range root.Pages {
		if s.Base < ref.Base || s.Base > ref.End {
			continue
		}
		page, err := a.s.tree.page(ctx, a.tp, ref)
		if err != nil {
			return false, err
		}
		if t, ok := page.Find(s.Base); ok && same(t, s) {
			return true, nil
		}
	}
	return false, nil
}
