package partition

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"firn/segment/vfs"
	"firn/segment/vfs/faultfs"
)

// flip changes one bit of a file.
func flip(t *testing.T, fs vfs.FS, path string, at int64) {
	t.Helper()
	f, err := fs.OpenRW(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

// A bit flips in a sealed segment that nobody reads: the scrubber finds it, once, says where, and goes on with the others.
func TestScrubFindsWhatRotsUnread(t *testing.T) {
	mem := vfs.NewMem()
	found := make(chan *Replica, 10)
	g := newRig(t, mem, func(o *Options) { o.OnDamage = func(r *Replica) { found <- r } })
	conf := durableConfig()
	conf.Segment.Bytes = 1000
	r := g.lead(conf)
	for range 60 {
		if a := start(r, AcksAll, records(t, 5, "value")).wait(t); a.Err != nil {
			t.Fatal(a.Err)
		}
	}
	sealed := r.Log().Sealed(0)
	if len(sealed) < 3 {
		t.Fatalf("%d sealed segments", len(sealed))
	}
	path := sealed[1].Path()
	for _, s := range sealed {
		s.Release()
	}
	scrub := func() (stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- g.set.Scrub(ctx, 1<<40) }()
		return func() {
			cancel()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
	}
	r.scrub(func(int64) error { return nil })
	if err := r.Damage(); err != nil {
		t.Fatalf("before anything is wrong: %v", err)
	}
	flip(t, mem, path, 200)
	defer scrub()()
	if got := <-found; got != r || !errors.Is(r.Damage(), ErrCorruptData) || !strings.Contains(r.Damage().Error(), path) {
		t.Errorf("found %v in %s: %v", r.Damage(), path, got)
	}
	if a := start(r, AcksAll, records(t, 1, "value")).wait(t); a.Err != nil {
		t.Errorf("the rest of the log does not go on: %v", a.Err)
	}
}

// What cannot be read at all is told of, as what reads wrong is; whether it is gone for good is not known.
func TestScrubTellsOfWhatCannotBeRead(t *testing.T) {
	var inject faultfs.Injector
	g := newRig(t, faultfs.Wrap(vfs.NewMem(), &inject))
	r := g.lead(durableConfig())
	if a := start(r, AcksAll, records(t, 5, "value")).wait(t); a.Err != nil {
		t.Fatal(a.Err)
	}
	pace := func(int64) error { return nil }
	if r.scrub(pace); testutil.ToFloat64(g.set.met.corruptions) != 0 {
		t.Error("told of before anything is wrong")
	}
	bad := inject.Add(faultfs.Rule{Op: faultfs.ReadAt, Glob: "*.log", Times: -1, Err: syscall.EIO})
	if r.scrub(pace); testutil.ToFloat64(g.set.met.corruptions) != 1 {
		t.Error("not told of")
	}
	bad.Remove()
	if r.Damage() != nil {
		t.Errorf("what may be read later counts as damage: %v", r.Damage())
	}
}
