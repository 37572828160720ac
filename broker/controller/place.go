package controller

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
)

// candidate is a broker that replicas may be placed on.
type candidate struct {
	id   int32
	rack string
}

// place assigns replicas of n partitions, preferred leader first. Leaders go round all brokers, so that each
// leads n/len(brokers) of them, rounded; a partition's replicas are on different racks as far as there are
// racks; and the order of followers shifts from round to round, so that a lost broker's load spreads over
// all others. The same seed gives the same placement.
func place(brokers []candidate, n, factor int, seed uint64) ([][]int32, error) {
	if factor < 1 || factor > len(brokers) {
		return nil, fmt.Errorf("%w: %d, with %d brokers to place replicas on", ErrReplicationFactor, factor, len(brokers))
	}
	ring := ring(brokers, rand.New(rand.NewPCG(seed, seed)))
	out := make([][]int32, n)
	for i := range out {
		round := i / len(ring)
		out[i] = replicas(ring, i%len(ring), round, factor)
	}
	return out, nil
}

// placeBehind adds to placements, each of which is on all of the first brokers, replicas on others, by the rules of place.
func placeBehind(list [][]int32, first, others []candidate, factor int, seed uint64) {
	used := map[string]bool{}
	for _, b := range first {
		used[b.rack] = true
	}
	ring := ring(others, rand.New(rand.NewPCG(seed, seed)))
	for i := range list {
		list[i] = upTo(list[i], maps.Clone(used), factor, slices.Values(rotate(ring, i%len(ring))))
	}
}

// ring orders brokers so that neighbours are on different racks as far as that goes, beginning anywhere.
func ring(brokers []candidate, rng *rand.Rand) []candidate {
	byRack := map[string][]candidate{}
	for _, b := range brokers {
		byRack[b.rack] = append(byRack[b.rack], b)
	}
	// Larger racks first, so that what is left over at the end is not all of one rack.
	racks := slices.SortedFunc(maps.Values(byRack), func(a, b []candidate) int {
		return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a[0].rack, b[0].rack))
	})
	for i, list := range racks {
		slices.SortFunc(list, func(a, b candidate) int { return cmp.Compare(a.id, b.id) })
		racks[i] = rotate(list, rng.IntN(len(list)))
	}
	out := make([]candidate, 0, len(brokers))
	for i := 0; len(out) < len(brokers); i++ {
		for _, list := range racks {
			if i < len(list) {
				out = append(out, list[i])
			}
		}
	}
	return rotate(out, rng.IntN(len(out)))
}

func rotate(list []candidate, by int) []candidate {
	return append(slices.Clone(list[by:]), list[:by]...)
}

// replicas picks a leader and followers from behind it.
func replicas(ring []candidate, leader, round, factor int) []int32 {
	others := len(ring) - 1
	return upTo([]int32{ring[leader].id}, map[string]bool{ring[leader].rack: true}, factor, func(yield func(candidate) bool) {
		for i := range others {
			if !yield(ring[(leader+1+(round+i)%others)%len(ring)]) {
				return
			}
		}
	})
}

// upTo adds to replicas, which are on the racks that are used, until they are as many as factor: first one of each rack that
// has none, then whoever is left.
func upTo(replicas []int32, used map[string]bool, factor int, from iter.Seq[candidate]) []int32 {
	var second []int32
	for b := range from {
		switch {
		case len(replicas) == factor:
			return replicas
		case used[b.rack]:
			second = append(second, b.id)
		default:
			used[b.rack] = true
			replicas = append(replicas, b.id)
		}
	}
	return append(replicas, second[:factor-len(replicas)]...)
}
