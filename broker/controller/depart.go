package controller

import (
	"context"
	"fmt"
	"slices"

	"firn/metadata"
)

// maxDepartures bounds the partitions that are copied at a time for brokers that leave.
const maxDepartures = 100

// Unregister has a broker leave for good. It leads nothing any more and joins no in-sync set, its replicas move to
// other brokers, and once it has none it is unregistered; that goes on by itself, over restarts of any broker. One that
// is leaving already is left to it.
//
// Errors: ErrNotController, ErrUnknownBroker, ErrReplicationFactor if the others are too few for the replicas there
// are, and metadata's.
func (c *Controller) Unregister(ctx context.Context, id int32) error {
	return c.verb(ctx, "unregister", 1, func(ctx context.Context, errs []error) {
		img := c.store.Image()
		node, ok := img.Node(id)
		switch {
		case !ok || node.State == metadata.NodeGone:
			errs[0] = fmt.Errorf("%w: %d", ErrUnknownBroker, id)
			return
		case node.State == metadata.NodeDraining:
			return
		}
		if errs[0] = checkDeparture(img, id); errs[0] != nil {
			return
		}
		next := *node
		next.State = metadata.NodeDraining
		c.commitEach(ctx, []metadata.Txn{{
			If:   []metadata.Cmp{c.mine(), metadata.ModIs(c.keys.Node(id), node.Rev)},
			Then: []metadata.Op{c.keys.PutNode(&next)},
			Else: []string{c.keys.Controller()},
		}}, errs, conflict)
	})[0]
}

// checkDeparture reports whether the brokers that stay are enough for what there is.
func checkDeparture(img *metadata.Image, id int32) error {
	staying := staying(img, id)
	if staying == 0 {
		return fmt.Errorf("%w: no other broker would be left", ErrReplicationFactor)
	}
	for p := range img.Partitions() {
		if !slices.Contains(p.Replicas, id) || slices.Contains(p.Removing, id) {
			continue
		}
		if want := len(p.Replicas) - len(p.Removing); want > staying {
			name := p.Partition.String()
			if t, ok := img.TopicByID(p.Partition.ID); ok {
				name = fmt.Sprintf("%s-%d", t.Name, p.Partition.Index)
			}
			return fmt.Errorf("%w: %s has %d replicas, and %d brokers would be left", ErrReplicationFactor, name, want, staying)
		}
	}
	return nil
}

// staying is how many brokers are not about to leave, but for one.
func staying(img *metadata.Image, but int32) int {
	n := 0
	for _, b := range img.Nodes() {
		if b.ID != but && b.State == metadata.NodeLive {
			n++
		}
	}
	return n
}

// planDeparture returns the transactions that bring brokers that leave nearer to it: reassignments of some of their
// replicas, or, for those that have none left, the end.
func (c *Controller) planDeparture(img *metadata.Image) []metadata.Txn {
	var leaving []int32
	for _, n := range img.Nodes() {
		if n.State == metadata.NodeDraining {
			leaving = append(leaving, n.ID)
		}
	}
	if len(leaving) == 0 {
		return nil
	}
	e := newElector(img, c.opts.Defaults)
	moves, busy := e.depart(leaving)
	var txns []metadata.Txn
	for i := range moves {
		p, _ := img.Partition(moves[i].Partition)
		txn := c.replace(p, &moves[i])
		txn.Else = nil
		txns = append(txns, txn)
	}
	for _, id := range leaving {
		if busy[id] > 0 {
			continue
		}
		n, _ := img.Node(id)
		next := *n
		next.State = metadata.NodeGone
		txns = append(txns, metadata.Txn{
			If:   []metadata.Cmp{c.mine(), metadata.ModIs(c.keys.Node(id), n.Rev)},
			Then: []metadata.Op{c.keys.PutNode(&next)},
		})
		c.log.Info("broker has left for good", "broker", id)
	}
	return txns
}

// depart returns reassignments away from brokers that leave, as many as may be copied at a time, and how many
// replicas each of them still has.
func (e *elector) depart(leaving []int32) (moves []metadata.PartitionState, busy map[int32]int) {
	load, busy := map[int32]int{}, map[int32]int{}
	copied := 0
	var todo []*metadata.PartitionState
	for p := range e.img.Partitions() {
		for _, id := range p.Replicas {
			load[id]++
			if slices.Contains(leaving, id) {
				busy[id]++
			}
		}
		switch stay := without(p.Replicas, in(p.Removing)); {
		case slices.ContainsFunc(stay, in(leaving)):
			todo = append(todo, p) // a reassignment under way to one that leaves would never end: it joins no in-sync set
		case e.copies(p):
			copied++
		}
	}
	slices.SortFunc(todo, func(a, b *metadata.PartitionState) int { return comparePartitions(a.Partition, b.Partition) })
	candidates := placeable(e.img)
	for _, p := range todo {
		if copied >= maxDepartures {
			break
		}
		target, ok := e.instead(without(p.Replicas, in(p.Removing)), leaving, candidates, load)
		if !ok {
			continue // until there are brokers to take them
		}
		n, err := e.reassign(p, Reassignment{Replicas: target})
		if err == nil {
			moves, copied = append(moves, n), copied+1
		}
	}
	return moves, busy
}

// copies reports whether a partition is being copied. Other reassignments wait, perhaps for ever: for brokers that are away.
func (e *elector) copies(p *metadata.PartitionState) bool {
	return p.Leader >= 0 && slices.ContainsFunc(p.Adding, func(id int32) bool { return e.alive(id) && !slices.Contains(p.ISR, id) })
}

// instead returns replicas with others in the places of those that leave: on racks that the rest is not on, as far
// as there are, and there on the brokers with the fewest replicas, which load counts.
func (e *elector) instead(replicas, leaving []int32, candidates []candidate, load map[int32]int) ([]int32, bool) {
	target := slices.Clone(replicas)
	for i, id := range replicas {
		if !slices.Contains(leaving, id) {
			continue
		}
		racks := map[string]bool{}
		for _, other := range target {
			if n, ok := e.img.Node(other); ok && other != id && !slices.Contains(leaving, other) {
				racks[n.Rack] = true
			}
		}
		best := -1
		better := func(a, b candidate) bool {
			if racks[a.rack] != racks[b.rack] {
				return !racks[a.rack]
			}
			return load[a.id] < load[b.id]
		}
		for j, c := range candidates {
			if slices.Contains(target, c.id) || slices.Contains(leaving, c.id) {
				continue
			}
			if best < 0 || better(c, candidates[best]) {
				best = j
			}
		}
		if best < 0 {
			return nil, false
		}
		target[i] = candidates[best].id
		load[candidates[best].id]++
	}
	return target, true
}
