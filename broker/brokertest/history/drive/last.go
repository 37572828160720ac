package drive

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// theGroup is who has read what any member of the group has, beside processes, which are numbered from 1.
const theGroup = 0

// catchUpEvery is how often consumers are asked where they are.
const catchUpEvery = 50 * time.Millisecond

// reads notes from where on somebody reads, from offset 0 on if it does not say.
func (d *Driver) reads(who int32, from []int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mu.at[who] = make([]int64, d.o.Partitions)
	copy(d.mu.at[who], from)
}

// advance notes up to where somebody has read.
func (d *Driver) advance(who int32, next map[int32]int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for p, o := range next {
		d.mu.at[who][p] = max(d.mu.at[who][p], o)
	}
}

// ceases notes that somebody reads no more.
func (d *Driver) ceases(who int32) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.mu.at, who)
}

// catchUp waits until every reader and the group have read all that there is, now that nothing is added. Who has lived until
// now lives on until then: one to whom a broker has stopped giving anything must not be helped by another that takes its place.
func (d *Driver) catchUp(ctx context.Context) error {
	d.drains.Store(true)
	if d.o.Readers+d.o.Members == 0 {
		return nil
	}
	want, err := d.committedEnds(ctx, make([]int64, d.o.Partitions))
	if err != nil {
		return err
	}
	tick := time.NewTicker(catchUpEvery)
	defer tick.Stop()
	for {
		late := d.late(want)
		if late == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.Join(late, ctx.Err())
		}
	}
}

// late says who has not read all that there is.
func (d *Driver) late(want []int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, who := range slices.Sorted(maps.Keys(d.mu.at)) {
		if at := d.mu.at[who]; !reached(at, want) {
			name := fmt.Sprintf("process %d", who)
			if who == theGroup {
				name = "group " + d.o.Group
			}
			return fmt.Errorf("%s has read up to %v of %v and gets no further", name, at, want)
		}
	}
	return nil
}
