package partition

import (
	"testing"
	"time"

	"firn/segment/vfs"
)

// heard counts what a watch tells.
type heard struct {
	grown          int64
	changed, noted int
	stays          bool
}

func (h *heard) Grown(n int64) bool { h.grown += n; return h.stays }
func (h *heard) Changed()           { h.changed++ }
func (h *heard) Noted(bool)         { h.noted++ }

// read reads a partition without waiting.
func readAt(g *rig, p FetchPart) *waitingFetch {
	f := fetchWait(g, 0, 0, p)
	f.wait(g.t)
	return f
}

func TestWatchHearsOfWhatComesNext(t *testing.T) {
	g := newRig(t, vfs.NewMem())
	r := g.lead(durableConfig())
	size := int64(len(records(t, 1, "v")))
	h := &heard{stays: true}
	w := &Watch{Owner: h}
	if !w.Set(&readAt(g, part(r, 0)).Parts[0]) {
		t.Fatal("nothing has happened")
	}
	appendOK(t, r, records(t, 1, "v"))
	appendOK(t, r, records(t, 1, "v"))
	if h.grown != 2*size {
		t.Errorf("heard of %d bytes, want %d", h.grown, 2*size)
	}
	h.stays = false
	appendOK(t, r, records(t, 1, "v"))
	appendOK(t, r, records(t, 1, "v"))
	if h.grown != 3*size || w.at.Load() != nil {
		t.Errorf("heard of %d bytes after it had enough", h.grown)
	}
	if !w.Set(&readAt(g, part(r, 4)).Parts[0]) {
		t.Fatal("it is at the end")
	}
	r.noteFetches()
	if err := r.BecomeLeader(alone(2)); err != nil {
		t.Fatal(err)
	}
	if h.noted != 1 || h.changed != 1 || w.at.Load() != nil {
		t.Errorf("%+v", h)
	}
	if !w.Set(&readAt(g, part(r, 4)).Parts[0]) {
		t.Fatal("nothing has happened since")
	}
	w.Stop()
	appendOK(t, r, records(t, 1, "v"))
	if h.grown != 3*size || r.waiters.fetches.head != nil {
		t.Error("a watch that was stopped hears on")
	}
}

// A watch is not set over what has happened since the reading, nor where there is more to be read.
func TestWatchMissesNothing(t *testing.T) {
	for name, happens := range map[string]func(r *Replica){
		"append":     func(r *Replica) { appendOK(t, r, records(t, 1, "v")) },
		"new epoch":  func(r *Replica) { _ = r.BecomeLeader(alone(2)) },
		"lost":       func(r *Replica) { _ = r.BecomeFollower(State{LeaderEpoch: 2}) },
		"log starts": func(r *Replica) { r.raiseFloor(1) },
		"dropped": func(r *Replica) {
			_ = r.Roll()
			c := *r.config.Load()
			c.Retention.Bytes = 0
			r.SetConfig(c)
			r.maintain(time.Now())
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, vfs.NewMem())
			r := g.lead(durableConfig())
			appendOK(t, r, records(t, 1, "v"))
			w := &Watch{Owner: &heard{}}
			f := readAt(g, part(r, 1))
			happens(r)
			if w.Set(&f.Parts[0]) {
				t.Error("the watch is set")
			}
			if f = readAt(g, part(r, 0)); w.Set(&f.Parts[0]) {
				t.Error("the watch is set where there is more to be read")
			}
			f.release()
		})
	}
}

// The disk may be done before the append that asked it is: the bytes are counted all the same, and nobody looks again for
// nothing.
func TestWatchHearsOfEachByte(t *testing.T) {
	g := newRig(t, vfs.NewMem())
	r := g.lead(durableConfig())
	b := records(t, 1, "v")
	h := &heard{stays: true}
	w := &Watch{Owner: h}
	if !w.Set(&readAt(g, part(r, 0)).Parts[0]) {
		t.Fatal("nothing has happened")
	}
	const appends = 5000
	for range appends {
		appendOK(t, r, records(t, 1, "v"))
	}
	if want := int64(appends * len(b)); h.grown != want || h.changed > 0 {
		t.Errorf("heard of %d bytes, want %d, and %d times to look again", h.grown, want, h.changed)
	}
}
