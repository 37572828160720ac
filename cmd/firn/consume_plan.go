package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// plan finds out where to begin and to stop, and begins. What it leaves running ends with ctx.
func (r *reader) plan(ctx context.Context) error {
	o := &r.opts
	wanted, err := r.partitions(ctx)
	if err != nil {
		return err
	}
	if len(o.partitions) > 0 {
		if err := checkPartitions(o.topic, wanted, o.partitions); err != nil {
			return err
		}
		wanted = o.partitions
	}
	// Without a bound somebody waits for records, so what cannot be found out yet is left for later, with its partition.
	find := func(pos position) (offsets, error) {
		if len(wanted) == 0 {
			return offsets{}, nil
		}
		list, err := resolve(ctx, r.adm, o.topic, wanted, pos)
		if err != nil && (o.bounded || !isLeaderless(err)) {
			return nil, err
		}
		if err != nil {
			unled := slices.DeleteFunc(slices.Clone(wanted), func(p int32) bool { _, ok := list[p]; return ok })
			r.app.warn("%v; partition %s of %s is read once somebody leads it", err, joinInts(unled), o.topic)
			r.later, wanted = append(r.later, unled...), without(wanted, unled)
		}
		return list, nil
	}
	if r.starts, err = find(position{kind: atEarliest}); err != nil {
		return err
	}
	ends, err := find(position{kind: atLatest})
	if err != nil {
		return err
	}
	if r.from, err = find(o.from); err != nil {
		return err
	}
	for _, list := range []offsets{r.starts, r.from} {
		maps.DeleteFunc(list, func(p int32, _ int64) bool { return !slices.Contains(wanted, p) })
	}
	r.bound(r.from, ends, o.from.kind == atOffset)
	if err := r.planUntil(ctx, ends); err != nil {
		return err
	}
	if o.group != "" {
		r.cl.AddConsumeTopics(o.topic)
		return nil
	}
	r.begin(r.from)
	r.beginLater(r.later, o.from)
	if o.partitions == nil && !o.bounded {
		go r.follow(ctx)
	}
	return nil
}

// partitions are those that the topic has.
func (r *reader) partitions(ctx context.Context) ([]int32, error) {
	details, err := r.adm.ListTopicsWithInternal(ctx, r.opts.topic)
	if err == nil {
		err = details[r.opts.topic].Err
	}
	if err != nil {
		return nil, fmt.Errorf("partitions of %s: %w", r.opts.topic, missingTopic(err))
	}
	return slices.Sorted(maps.Keys(details[r.opts.topic].Partitions)), nil
}

// bound moves offsets into what the partitions hold, and says so if a person named them.
func (r *reader) bound(list, ends offsets, say bool) {
	for _, p := range slices.Sorted(maps.Keys(r.starts)) {
		at, in := list[p], min(max(list[p], r.starts[p]), ends[p])
		if at != in && say {
			r.app.warn("partition %d holds offsets %d to %d, so it is read from %d", p, r.starts[p], ends[p], in)
		}
		list[p] = in
	}
}

// planUntil finds out where to stop, at once or when the time has come.
func (r *reader) planUntil(ctx context.Context, ends offsets) error {
	o := &r.opts
	if !o.bounded {
		return nil
	}
	if wait := o.until.time.Sub(r.app.now()); o.until.kind == atTime && wait > 0 {
		timer := time.NewTimer(wait)
		go func() {
			defer timer.Stop()
			select {
			case <-ctx.Done():
			case <-timer.C:
				r.stopAt(ctx, o.until)
			}
		}()
		return nil
	}
	if o.until.kind == atLatest {
		r.until = ends
		return nil
	}
	until, err := resolve(ctx, r.adm, o.topic, o.partitions, o.until)
	r.until = until
	return err
}

// stopAt sets where to stop, once that is known.
func (r *reader) stopAt(ctx context.Context, pos position) {
	for {
		until, err := resolve(ctx, r.adm, r.opts.topic, r.opts.partitions, pos)
		if err == nil {
			r.mu.Lock()
			r.until = until
			r.mu.Unlock()
			r.poke()
			return
		}
		r.app.warn("find out where to stop: %v; trying again", err)
		if pause(ctx, time.Second) != nil {
			return
		}
	}
}

// begin adds partitions to what is read.
func (r *reader) begin(at offsets) {
	list := map[int32]kgo.Offset{}
	r.mu.Lock()
	for p, off := range at {
		if _, known := r.parts[p]; known {
			continue
		}
		r.parts[p] = &part{next: off, committed: -1, begin: off}
		if !r.doneLocked(p) {
			list[p] = kgo.NewOffset().At(off)
		}
	}
	r.mu.Unlock()
	if len(list) > 0 {
		r.cl.AddConsumePartitions(map[string]map[int32]kgo.Offset{r.opts.topic: list})
	}
}

// beginLater adds partitions from pos on, which the client finds out once it can.
func (r *reader) beginLater(partitions []int32, pos position) {
	list := map[int32]kgo.Offset{}
	r.mu.Lock()
	for _, p := range partitions {
		if r.parts[p] == nil {
			r.parts[p] = &part{committed: -1}
			list[p] = pos.later()
		}
	}
	r.mu.Unlock()
	if len(list) > 0 {
		r.cl.AddConsumePartitions(map[string]map[int32]kgo.Offset{r.opts.topic: list})
	}
}

// followEvery is how often a topic is looked at for new partitions, which is rare and may be late.
const followEvery = 30 * time.Second

// follow adds partitions that the topic gets while it is read, from their first record on.
func (r *reader) follow(ctx context.Context) {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if all, err := r.partitions(ctx); err == nil {
				r.beginLater(all, position{kind: atEarliest})
			}
		}
	}
}
