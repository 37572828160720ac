package segment

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"firn/segment/vfs"
	"firn/segment/vfs/faultfs"
)

// witness is a file system that notes what is done to log files.
type witness struct {
	vfs.FS
	mu   sync.Mutex
	seen []access
}

// access is one call: the file's name, what was done, where.
type access struct {
	name, op string
	at       int64
}

func (w *witness) note(name, op string, at int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if filepath.Ext(name) == logSuffix {
		w.seen = append(w.seen, access{filepath.Base(name), op, at})
	}
}

func (w *witness) Open(name string) (vfs.File, error) {
	f, err := w.FS.Open(name)
	return &witnessed{f, w}, err
}

func (w *witness) OpenRW(name string) (vfs.File, error) {
	f, err := w.FS.OpenRW(name)
	return &witnessed{f, w}, err
}

type witnessed struct {
	vfs.File
	w *witness
}

func (f *witnessed) ReadAt(p []byte, off int64) (int, error) {
	f.w.note(f.Name(), "read", off)
	return f.File.ReadAt(p, off)
}

func (f *witnessed) Sync() error {
	f.w.note(f.Name(), "sync", 0)
	return f.File.Sync()
}

func (f *witnessed) DropCache(off, n int64) {
	f.w.note(f.Name(), "drop cache", off)
	f.File.DropCache(off, n)
}

// Recovery reads no sealed segment, and of the active one only from the last index entry below the checkpoint on. What
// lies past the checkpoint is brought to the disk first and read back from there, not from memory. After a clean stop
// there is nothing past it.
func TestRecoveryReadsOnlyPastTheCheckpoint(t *testing.T) {
	for _, clean := range []bool{false, true} {
		t.Run(fmt.Sprintf("clean=%v", clean), func(t *testing.T) {
			mem := vfs.NewMem()
			d := openDisk(t, mem)
			d.checkpoint.stop() // at no other time than below
			state := newCounter()
			o := Options{Settings: Settings{SegmentBytes: 1 << 20, FlushInterval: time.Hour}, Producers: state}
			l := openLog(t, d, o)
			add := func(until func() bool) {
				for !until() {
					b := makeBatch(t, l.Next(), 4, 250, 0)
					mustAppend(t, l, b)
					state.Apply(b)
				}
			}
			size := func() int64 { _, size, _ := l.Active(); return size }
			add(func() bool { return len(l.Segments()) == 3 && size() > 300<<10 })
			l.mu.Lock()
			l.stashMark()
			l.mu.Unlock()
			d.timedCheckpoint()
			from := l.synced()
			if !clean {
				add(func() bool { return size() > from.size+100<<10 })
			}
			end := l.Next()
			if err := d.Close(clean); err != nil {
				t.Fatal(err)
			}

			w := &witness{FS: mem}
			o.Producers = newCounter()
			after := openLog(t, openDisk(t, w), o)
			if after.Next() != end || string(o.Producers.Snapshot()) != string(state.Snapshot()) {
				t.Errorf("ends at %d, want %d; producers %x", after.Next(), end, o.Producers.Snapshot())
			}
			active := offsetName(from.base, logSuffix)
			var order []string
			for _, a := range w.seen {
				if a.name != active {
					t.Errorf("%+v of a sealed segment", a)
				}
				if a.op == "read" && a.at < from.size-8<<10 {
					t.Errorf("read at %d, the checkpoint is at %d", a.at, from.size)
				}
				if a.op == "drop cache" && a.at > from.size {
					t.Errorf("%+v, the checkpoint is at %d", a, from.size)
				}
				if !slices.Contains(order, a.op) {
					order = append(order, a.op)
				}
			}
			want := "sync, drop cache, read"
			if clean {
				want = "read"
			}
			if got := strings.Join(order, ", "); got != want {
				t.Errorf("%s, want %s", got, want)
			}
		})
	}
}

// What was relaxed may be lost, and the log end before the high watermark that a checkpoint tells of.
func TestRecoveredHighWatermarkIsWithinTheLog(t *testing.T) {
	mem := vfs.NewMem()
	d := openDisk(t, mem)
	l := openLog(t, d, Options{Settings: Settings{FlushInterval: time.Hour}})
	fill(t, l, 10, 5, 50)
	if err := l.sync(); err != nil {
		t.Fatal(err)
	}
	fill(t, l, 20, 5, 50)
	l.SetHighWatermark(20)
	d.timedCheckpoint()
	cut := mem.CrashClone(1, 0)
	_ = d.Close(false)
	d = openDisk(t, cut)
	defer func() { _ = d.Close(false) }()
	l = openLog(t, d, Options{})
	if hw := l.RecoveredHighWatermark(); hw != 10 || l.Next() != 10 {
		t.Errorf("high watermark %d of a log that ends at %d", hw, l.Next())
	}
}

// A segment keeps its age over a restart, or one that is restarted each day would never be rolled.
func TestSegmentKeepsItsAge(t *testing.T) {
	for _, clean := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			mem := vfs.NewMem()
			d := openDisk(t, mem)
			o := Options{Settings: Settings{SegmentAge: 2 * time.Hour}}
			l := openLog(t, d, o)
			fill(t, l, 10, 5, 50)
			_, _, since := l.Active()
			time.Sleep(time.Hour)
			if err := d.Close(clean); err != nil {
				t.Fatal(err)
			}
			d = openDisk(t, mem)
			l = openLog(t, d, o)
			if _, _, again := l.Active(); !again.Equal(since) {
				t.Errorf("clean %v: since %v, was %v", clean, again, since)
			}
			time.Sleep(time.Hour)
			if err := l.RollIfDue(time.Now()); err != nil || len(l.Segments()) != 2 {
				t.Errorf("clean %v: %v, %d segments", clean, err, len(l.Segments()))
			}
			if err := d.Close(true); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A process is killed at each step of making a log directory. What the next one acknowledges there survives a power cut,
// and a batch that the cut tears is cut off and not taken for damage.
func TestKilledWhileADiskIsMade(t *testing.T) {
	var inject faultfs.Injector
	mem := vfs.NewMem()
	var left []*vfs.Mem
	inject.Add(faultfs.Rule{Times: -1, Do: func(op faultfs.Op, _ string) {
		if op.Changes() {
			left = append(left, mem.KillClone())
		}
	}})
	d := openDisk(t, faultfs.Wrap(mem, &inject))
	if err := d.SetBrokerEpoch(1); err != nil {
		t.Fatal(err)
	}
	openLog(t, d, Options{})
	if err := d.Close(true); err != nil {
		t.Fatal(err)
	}
	for i, mem := range left {
		for seed := range uint64(5) {
			mem := mem.KillClone()
			d := openDisk(t, mem)
			l := openLog(t, d, Options{})
			fill(t, l, 10, 5, 3000)
			if err := l.sync(); err != nil {
				t.Fatal(err)
			}
			fill(t, l, 20, 5, 3000)
			cut := mem.CrashClone(seed, 50)
			_ = d.Close(false)
			d = openDisk(t, cut)
			after, err := d.Open(testID, 0, Options{})
			if err != nil {
				t.Errorf("step %d, seed %d: %v", i, seed, err)
			} else if after.Next() < 10 {
				t.Errorf("step %d, seed %d: ends at %d, 10 was durable", i, seed, after.Next())
			}
			_ = d.Close(false)
		}
	}
	if len(left) < 10 {
		t.Errorf("%d steps", len(left))
	}
}
