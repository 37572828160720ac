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
	at, unled, err := r.find(ctx, wanted, resolve)
	if err != nil && (o.bounded || !isLeaderless(err)) {
		return err
	}
	if err != nil { // without a bound somebody waits for records
		r.app.warn("%v; partition %s of %s is read once somebody leads it", err, joinInts(unled), o.topic)
	}
	r.starts, r.from, r.later = at.starts, at.from, unled
	if err := r.planUntil(ctx, at.ends); err != nil {
		return err
	}
	if o.group != "" {
		r.cl.AddConsumeTopics(o.topic)
		return nil
	}
	r.begin(r.from)
	go r.beginOnceLed(ctx, unled)
	if o.partitions == nil && !o.bounded {
		go r.follow(ctx)
	}
	return nil
}

// places are what partitions hold, and where in it they are to be read from.
type places struct{ starts, ends, from offsets }

// find finds out about partitions by look, and which of them nobody leads, with the error that says so.
func (r *reader) find(ctx context.Context, wanted []int32, look lookup) (at places, unled []int32, err error) {
	for _, part := range []struct {
		of  *offsets
		pos position
	}{{&at.starts, position{kind: atEarliest}}, {&at.ends, position{kind: atLatest}}, {&at.from, r.opts.from}} {
		if len(wanted) == 0 { // which would mean all
			continue
		}
		list, failed := look(ctx, r.adm, r.opts.topic, wanted, part.pos)
		if *part.of = list; failed == nil {
			continue
		}
		if err = failed; !isLeaderless(err) {
			return places{}, nil, err
		}
		gone := slices.DeleteFunc(slices.Clone(wanted), func(p int32) bool { _, ok := list[p]; return ok })
		unled, wanted = append(unled, gone...), without(wanted, gone)
	}
	for _, list := range []offsets{at.starts, at.ends, at.from} {
		maps.DeleteFunc(list, func(p int32, _ int64) bool { return !slices.Contains(wanted, p) })
	}
	r.bound(at)
	return at, unled, err
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

// bound moves where partitions are to be read from into what they hold, and says so if a person named an offset.
func (r *reader) bound(at places) {
	for _, p := range slices.Sorted(maps.Keys(at.starts)) {
		want, in := at.from[p], min(max(at.from[p], at.starts[p]), at.ends[p])
		if want != in && r.opts.from.kind == atOffset {
			r.app.warn("partition %d holds offsets %d to %d, so it is read from %d", p, at.starts[p], at.ends[p], in)
		}
		at.from[p] = in
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

// beginOnceLed adds partitions that nobody leads yet, each when somebody does.
func (r *reader) beginOnceLed(ctx context.Context, partitions []int32) {
	for len(partitions) > 0 && pause(ctx, time.Second) == nil {
		at, unled, err := r.find(ctx, partitions, resolveOnce)
		switch {
		case ctx.Err() != nil:
		case err == nil, isLeaderless(err):
			r.begin(at.from)
			partitions = unled
		default:
			r.waiting.tell("partition "+joinInts(partitions), err)
		}
	}
}

// beginNew adds partitions from their first record on, which the client finds.
func (r *reader) beginNew(partitions []int32) {
	list := map[int32]kgo.Offset{}
	r.mu.Lock()
	for _, p := range partitions {
		if r.parts[p] == nil {
			r.parts[p] = &part{committed: -1}
			list[p] = kgo.NewOffset().AtStart()
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
				r.beginNew(without(all, r.later))
			}
		}
	}
}
