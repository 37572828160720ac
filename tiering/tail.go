package tiering

import (
	"context"
	"errors"

	"firn/metadata/topic"
	"firn/tiering/manifest"
	"firn/tiering/objstore"
)

// EpochEnd returns the greatest leader epoch that is not above epoch and the offset behind its last
// batch in the tier. If there is none ok is false, and end is as far as that epoch can have reached at most: where the first
// known one begins.
func (r *Reader) EpochEnd(ctx context.Context, tp topic.Partition, head *manifest.Head, epoch int32) (found int32, end int64, ok bool, err error) {
	end = head.TierEnd
	obj, err := r.last(ctx, tp, head)
	if obj == nil || err != nil {
		return 0, end, false, err
	}
	epochs := obj.footer.Epochs
	for i := len(epochs) - 1; i >= 0; i-- {
		if epochs[i].Epoch <= epoch {
			return epochs[i].Epoch, end, true, nil
		}
		end = epochs[i].Start
	}
	return 0, end, false, nil
}

// TailState is what a replica needs to begin at the end of the tier.
type TailState struct {
	End              int64 // the tier's end: the next offset
	Epochs           []EpochStart
	ProducerSnapshot []byte // producers' state at End; nil if there is none
}

// Tail reads the state at the end of the tier from the newest object's footer.
func (r *Reader) Tail(ctx context.Context, tp topic.Partition, head *manifest.Head) (TailState, error) {
	t := TailState{End: head.TierEnd}
	obj, err := r.last(ctx, tp, head)
	if obj == nil || err != nil {
		return t, err
	}
	f, err := readFooter(ctx, r.o.Bucket, obj.key, tp, obj.segment) // with the producers
	if err != nil {
		return TailState{}, r.outcome(ctx, err)
	}
	t.Epochs = f.Epochs
	if f.End+1 == head.TierEnd { // else the end was moved past what was uploaded
		t.ProducerSnapshot = f.Producers
	}
	return t, nil
}

// last returns the newest object with its footer; nil if there is none.
func (r *Reader) last(ctx context.Context, tp topic.Partition, head *manifest.Head) (*remote, error) {
	obj, err := r.lastOf(ctx, tp, head)
	if errors.Is(err, objstore.ErrNotFound) {
		err = r.again(ctx, tp, head, err, func(h *manifest.Head) error {
			obj, err = r.lastOf(ctx, tp, h)
			return err
		})
	}
	if err != nil {
		return nil, r.outcome(ctx, err)
	}
	return obj, nil
}

func (r *Reader) lastOf(ctx context.Context, tp topic.Partition, head *manifest.Head) (*remote, error) {
	root, err := r.tree.root(ctx, tp, head)
	if err != nil {
		return nil, err
	}
	place, ok := manifest.Last(*head, root)
	if !ok {
		return nil, nil
	}
	if place.InPage {
		page, err := r.tree.page(ctx, tp, place.Page)
		if err != nil {
			return nil, err
		}
		place.Segment = page.Segments[len(page.Segments)-1]
	}
	return r.remotes.get(ctx, remoteKey{tp, place.Segment})
}
