package segment

import (
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"firn/segment/vfs"
	"firn/segment/vfs/faultfs"
)

// damagedDirs are the directories of damaged logs that are kept.
func damagedDirs(t *testing.T, fsys vfs.FS) (dirs []string) {
	t.Helper()
	names, err := fsys.ReadDir(testDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if strings.HasSuffix(n.Name(), damagedSuffix) {
			dirs = append(dirs, filepath.Join(testDir, n.Name()))
		}
	}
	return dirs
}

// sizes are the bytes of each segment in a directory.
func sizes(t *testing.T, fsys vfs.FS, dir string) map[string]int64 {
	t.Helper()
	names, err := fsys.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]int64{}
	for _, n := range names {
		if i, err := n.Info(); err == nil && strings.HasSuffix(n.Name(), logSuffix) {
			all[n.Name()] = i.Size()
		}
	}
	return all
}

// rot damages durable bytes of the log, for good.
func (g *damaged) rot(t *testing.T) {
	t.Helper()
	g.flip(t, g.activeLog(), g.starts[0]+100, 1)
	g.cut(t, g.path(g.sealed[1].Base, logSuffix), 100)
	for _, name := range []string{g.activeLog(), g.path(g.sealed[1].Base, logSuffix)} {
		g.edit(t, name, vfs.File.Sync)
	}
}

func TestSetAside(t *testing.T) {
	g := makeDamaged(t)
	g.rot(t)
	was := sizes(t, g.fs, g.dir)
	d := openDisk(t, g.fs)
	if _, err := d.Open(testID, 0, Options{}); !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
	for round := range 2 {
		if err := d.SetAside(testID, 0); err != nil {
			t.Fatal(err)
		}
		if refs, err := d.Partitions(); err != nil || !slices.Equal(refs, []Ref{{ID: testID}}) {
			t.Errorf("partitions %v, %v", refs, err)
		}
		l := openLog(t, d, Options{})
		if l.Next() != 0 {
			t.Errorf("the new log ends at %d", l.Next())
		}
		fill(t, l, 10, 5, 50)
		if err := d.Close(true); err != nil { // which ends what is deleted in the background
			t.Fatal(err)
		}
		kept := damagedDirs(t, g.fs)
		if len(kept) != 1 {
			t.Fatalf("round %d: %v are kept", round, kept)
		}
		if got := sizes(t, g.fs, kept[0]); round == 0 && !maps.Equal(got, was) {
			t.Errorf("%v are kept of %v", got, was)
		}
		d = openDisk(t, g.fs)
		if n := d.asideCount(); n != 1 {
			t.Errorf("%v are counted", n)
		}
		if l = openLog(t, d, Options{}); l.Next() != 10 {
			t.Errorf("the new log ends at %d", l.Next())
		}
	}
	if err := d.Remove(testID, 0); err != nil {
		t.Fatal(err)
	}
	after := openDisk(t, g.fs.CrashClone(1, 0))
	for _, d := range []*Disk{d, after} {
		if refs, err := d.Partitions(); err != nil || len(refs) != 0 || d.asideCount() != 0 {
			t.Errorf("partitions %v, %v, %v set aside", refs, err, d.asideCount())
		}
	}
	_, _ = d.Close(true), after.Close(true)
}

// A log that was begun anew and is then missing is damage, as any other is: what was set aside before is no excuse.
func TestLogIsMissingAfterOneWasSetAside(t *testing.T) {
	g := makeDamaged(t)
	g.rot(t)
	d := openDisk(t, g.fs)
	if err := d.SetAside(testID, 0); err != nil {
		t.Fatal(err)
	}
	fill(t, openLog(t, d, Options{}), 10, 5, 50)
	if err := d.Close(true); err != nil {
		t.Fatal(err)
	}
	if err := g.fs.RemoveAll(g.dir); err != nil {
		t.Fatal(err)
	}
	d = openDisk(t, g.fs)
	if _, err := d.Open(testID, 0, Options{}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a missing log is opened: %v", err)
	}
	_ = d.Close(false)
}

// The power is cut, or the process killed, at every step of setting a log aside: either it is refused as before, or the
// partition is empty and the damaged log is kept, once, as it was.
func TestSetAsideCrash(t *testing.T) {
	g := makeDamaged(t)
	g.rot(t)
	was := sizes(t, g.fs, g.dir)
	var inject faultfs.Injector
	d := openDisk(t, faultfs.Wrap(g.fs, &inject))
	var refused, empty atomic.Int64
	inject.Add(faultfs.Rule{Times: -1, Do: func(op faultfs.Op, name string) {
		if !op.Changes() {
			return
		}
		for seed := range uint64(20) {
			left := g.fs.CrashClone(seed, int(seed)*50)
			if seed > 2 { // a kill, and a power cut once the next process has gone on with it
				left = g.fs.KillClone()
				_ = openDisk(t, left).Close(false)
				left = left.CrashClone(seed, 50)
			}
			after := openDisk(t, left)
			l, err := after.Open(testID, 0, Options{})
			dir := g.dir
			switch kept := damagedDirs(t, left); {
			case errors.Is(err, ErrCorrupt) && len(kept) == 0:
				refused.Add(1)
			case err == nil && l.Next() == 0 && len(kept) == 1 && after.asideCount() == 1:
				empty.Add(1)
				dir = kept[0]
			default:
				t.Errorf("crash before %s %s: %v, %v are kept", op, name, err, kept)
			}
			if got := sizes(t, left, dir); !maps.Equal(got, was) {
				t.Errorf("crash before %s %s: %v are left of %v", op, name, got, was)
			}
			_ = after.Close(false)
		}
	}})
	if err := d.SetAside(testID, 0); err != nil {
		t.Fatal(err)
	}
	if refused.Load() == 0 || empty.Load() == 0 {
		t.Errorf("a dull run: %d refused, %d empty", refused.Load(), empty.Load())
	}
	_ = d.Close(false)
}
