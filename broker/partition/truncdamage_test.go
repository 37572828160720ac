package partition

import (
	"errors"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"firn/segment/vfs"
)

// rotStart damages the first batch of a log, and takes the producers' states away that would do without it.
func rotStart(t *testing.T, mem *vfs.Mem, r *Replica) {
	t.Helper()
	sealed := r.Log().Sealed(0)
	if len(sealed) == 0 {
		t.Fatal("no segment is sealed")
	}
	first := sealed[0].Path()
	for _, s := range sealed {
		s.Release()
	}
	f, err := mem.OpenRW(first)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{0}, 16); err != nil { // its magic
		t.Fatal(err)
	}
	_ = f.Close()
	dir := filepath.Dir(first)
	files, err := mem.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if strings.HasSuffix(f.Name(), ".snap") {
			if err := mem.Remove(filepath.Join(dir, f.Name())); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// proposals counts how often an InSync was asked by a replica that does not lead.
type proposals struct{ n atomic.Int32 }

func (p *proposals) Propose(r *Replica) {
	if _, _, leads := r.LeaderEpoch(); !leads {
		p.n.Add(1)
	}
}

// A follower whose log was closed because cutting it met damage says that it serves nothing: should it be elected before the log is
// put away, it gives the lead up instead of failing to take it over and over.
func TestFollowerThatCannotBeCutServesNothing(t *testing.T) {
	conf := durableConfig()
	conf.Segment.Bytes = 1000
	asked := &proposals{}
	all := newMembers(t, 2, conf, func(o *Options) { o.InSync = asked })
	two := State{Leader: 1, LeaderEpoch: 1, Rev: 100, Replicas: []int32{1, 2}, ISR: []int32{1, 2}}
	elect(t, all, two)
	for range 60 {
		start(all[0].r, AcksLeader, records(t, 5, "value")).wait(t)
		catchUp(t, all[1], all[0])
	}
	r := all[1].r
	rotStart(t, all[1].mem, r)
	before := asked.n.Load()
	if err := r.Truncate(1, EpochEnd{Epoch: 1, End: r.log.Next() - 1}); !errors.Is(err, ErrCorruptData) {
		t.Fatalf("cut: %v", err)
	}
	if r.Damage() == nil || !errors.Is(r.Err(), ErrStorage) || asked.n.Load() == before {
		t.Errorf("damage %v, serves %v, %d times asked to resign", r.Damage(), r.Err(), asked.n.Load()-before)
	}
	two.Leader, two.LeaderEpoch, two.Rev = 2, 2, 200
	if err := r.BecomeLeader(two); !errors.Is(err, ErrStorage) {
		t.Errorf("it was elected: %v", err)
	}
}
