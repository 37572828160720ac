package snapmap

import (
	"maps"
	"math/rand/v2"
	"testing"
)

// TestRandomEdits holds every map of a chain of random edits against a plain Go map, and every Diff against
// the difference of the plain ones.
func TestRandomEdits(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))

	type state struct {
		m     Map[int, int]
		plain map[int]int
	}
	states := []state{{plain: map[int]int{}}}
	for range 60 {
		from := states[rng.IntN(len(states))]
		ed, plain := from.m.Edit(), maps.Clone(from.plain)
		for range rng.IntN(400) {
			k := rng.IntN(3000)
			if rng.IntN(3) == 0 {
				ed.Delete(k)
				delete(plain, k)
			} else {
				v := rng.Int()
				ed.Set(k, v)
				plain[k] = v
			}
			if got, ok := ed.Get(k); ok != hasKey(plain, k) || got != plain[k] {
				t.Fatalf("editor: key %d is %d, %v; want %d", k, got, ok, plain[k])
			}
		}
		states = append(states, state{ed.Map(), plain})
	}
	for i, s := range states {
		if got := maps.Collect(s.m.All()); !maps.Equal(got, s.plain) || s.m.Len() != len(s.plain) {
			t.Fatalf("map %d holds %d entries that are not the %d expected", i, s.m.Len(), len(s.plain))
		}
		for k, v := range s.plain {
			if got, ok := s.m.Get(k); !ok || got != v {
				t.Fatalf("map %d: key %d is %d, %v; want %d", i, k, got, ok, v)
			}
		}
		for j, o := range states {
			replayed := maps.Clone(s.plain)
			Diff(s.m, o.m, func(k, old int, had bool, now int, has bool) {
				if had != hasKey(s.plain, k) || old != s.plain[k] || has != hasKey(o.plain, k) || now != o.plain[k] {
					t.Fatalf("diff %d to %d reports key %d wrongly", i, j, k)
				}
				if has {
					replayed[k] = now
				} else {
					delete(replayed, k)
				}
			})
			if !maps.Equal(replayed, o.plain) {
				t.Fatalf("diff %d to %d misses changes", i, j)
			}
		}
	}
}

func hasKey(m map[int]int, k int) bool { _, ok := m[k]; return ok }

// TestSharedShardsAreSkipped shows that a difference costs the changed shards only.
func TestSharedShardsAreSkipped(t *testing.T) {
	ed := Map[int, int]{}.Edit()
	for i := range 100_000 {
		ed.Set(i, i)
	}
	base := ed.Map()
	ed = base.Edit()
	ed.Set(7, -1)
	next := ed.Map()
	shared := 0
	for i, s := range next.shards {
		if base.shards[i] == s {
			shared++
		}
	}
	if want := len(next.shards) - 1; shared != want {
		t.Fatalf("%d of %d shards shared, want %d", shared, len(next.shards), want)
	}
}

func BenchmarkSetOneOf100k(b *testing.B) {
	ed := Map[int, int]{}.Edit()
	for i := range 100_000 {
		ed.Set(i, i)
	}
	m := ed.Map()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		ed := m.Edit()
		ed.Set(i%100_000, -i)
		m = ed.Map()
	}
}
