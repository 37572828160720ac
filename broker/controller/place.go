package controller

import (
	"cmp"
	"fmt"
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

// replicas picks a leader and followers from behind it, first one of each rack, then whoever is left.
func replicas(ring []candidate, leader, round, factor int) []int32 {
	out := []int32{ring[leader].id}
	used := map[string]bool{ring[leader].rack: true}
	var second []int32
	others := len(ring) - 1
	for i := range others {
		b := ring[(leader+1+(round+i)%others)%len(ring)]
		switch {
		case len(out) == factor:
		case used[b.rack]:
			second = append(second, b.id)
		default:
			used[b.rack] = true
			out = append(out, b.id)
		}
	}
	return append(out, second[:factor-len(out)]...)
}
