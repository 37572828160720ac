package tiering

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

func TestLocalFloor(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	sealed := []LocalSegment{ // ten offsets, a hundred bytes and a hundred seconds each
		{Base: 100, End: 109, Size: 100, MaxTime: 100_000},
		{Base: 110, End: 119, Size: 100, MaxTime: 200_000},
		{Base: 120, End: 129, Size: 100, MaxTime: 300_000},
		{Base: 130, End: 139, Size: 100, MaxTime: 400_000},
	}
	base := LocalView{RetentionMs: -1, RetentionBytes: -1, Sealed: sealed, ActiveBytes: 50, HighWatermark: math.MaxInt64}
	tiered := func(end int64, change func(*LocalView)) LocalView {
		v := base
		v.Tiered, v.TierEnd = true, end
		change(&v)
		return v
	}
	untiered := func(change func(*LocalView)) LocalView {
		v := base
		change(&v)
		return v
	}
	for name, c := range map[string]struct {
		view LocalView
		want int64
	}{
		"no limits":                       {untiered(func(*LocalView) {}), 0},
		"untiered by time":                {untiered(func(v *LocalView) { v.RetentionMs = 750_000 }), 120},
		"untiered by time, all of it":     {untiered(func(v *LocalView) { v.RetentionMs = 0 }), 140},
		"untiered by bytes":               {untiered(func(v *LocalView) { v.RetentionBytes = 250 }), 120},
		"untiered by bytes, exactly":      {untiered(func(v *LocalView) { v.RetentionBytes = 350 }), 110},
		"untiered stops at the watermark": {untiered(func(v *LocalView) { v.RetentionMs, v.HighWatermark = 0, 125 }), 120},
		"untiered ignores a low disk":     {untiered(func(v *LocalView) { v.DiskLow = true }), 0},
		"deleted records":                 {untiered(func(v *LocalView) { v.LogStart = 125 }), 120},
		"tiered by time, not uploaded":    {tiered(110, func(v *LocalView) { v.RetentionMs = 0 }), 110},
		"tiered by time":                  {tiered(140, func(v *LocalView) { v.RetentionMs = 750_000 }), 120},
		"tiered, nothing proven":          {tiered(0, func(v *LocalView) { v.RetentionMs, v.RetentionBytes, v.DiskLow = 0, 0, true }), 0},
		"tiered and uploaded in part":     {tiered(115, func(v *LocalView) { v.RetentionMs = 0 }), 110},
		"tiered by bytes":                 {tiered(140, func(v *LocalView) { v.RetentionBytes = 150 }), 130},
		"tiered on a low disk":            {tiered(130, func(v *LocalView) { v.DiskLow = true }), 130},
		"tiered, deleted records":         {tiered(110, func(v *LocalView) { v.LogStart = 130 }), 130},
	} {
		if got := LocalFloor(c.view, now); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

// Whatever the settings: nothing goes that is neither proven to be in the tier nor below the log start.
func TestLocalFloorNeverPassesTheTier(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		v := LocalView{
			Tiered: true, TierEnd: rng.Int64N(300), LogStart: rng.Int64N(150), HighWatermark: rng.Int64N(300),
			RetentionMs: rng.Int64N(1000) - 100, RetentionBytes: rng.Int64N(1000) - 100, DiskLow: rng.IntN(2) == 0, ActiveBytes: rng.Int64N(100),
		}
		for base := int64(0); base < 200; {
			end := base + rng.Int64N(30)
			v.Sealed = append(v.Sealed, LocalSegment{Base: base, End: end, Size: rng.Int64N(100), MaxTime: rng.Int64N(1000)})
			base = end + 1
		}
		if floor := LocalFloor(v, time.UnixMilli(rng.Int64N(2000))); floor > max(v.TierEnd, v.LogStart) {
			t.Fatalf("floor %d of %+v", floor, v)
		}
	}
}
