package segment

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"firn/segment/batch"
	"firn/segment/vfs"
	"firn/segment/vfs/faultfs"
)

func TestDiskIsLocked(t *testing.T) {
	for name, fsys := range map[string]vfs.FS{"mem": vfs.NewMem(), "os": vfs.OS()} {
		t.Run(name, func(t *testing.T) {
			o := DiskOptions{FS: fsys, Dir: filepath.Join(t.TempDir(), "data")}
			d, err := OpenDisk(o)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := OpenDisk(o); !errors.Is(err, ErrLocked) {
				t.Errorf("second open: %v", err)
			}
			if err := Check(o.FS, o.Dir, func(Finding) {}); !errors.Is(err, ErrLocked) {
				t.Errorf("check: %v", err)
			}
			if err := d.Close(true); err != nil {
				t.Fatal(err)
			}
			if d, err = OpenDisk(o); err != nil {
				t.Fatal(err)
			}
			_ = d.Close(true)
		})
	}
}

func TestDiskOfAnother(t *testing.T) {
	mem := vfs.NewMem()
	open := func(cluster string, broker int32) ([16]byte, error) {
		d, err := OpenDisk(DiskOptions{FS: mem, Dir: testDir, ClusterID: cluster, BrokerID: broker})
		if err != nil {
			return [16]byte{}, err
		}
		return d.ID(), d.Close(true)
	}
	id, err := open("", 1)
	if err != nil || id == [16]byte{} {
		t.Fatal(id, err)
	}
	for _, c := range []struct {
		cluster string
		broker  int32
		ok      bool
	}{{"a", 1, true}, {"a", 1, true}, {"", 1, true}, {"b", 1, false}, {"a", 2, false}} {
		got, err := open(c.cluster, c.broker)
		if c.ok && (err != nil || got != id) || !c.ok && !errors.Is(err, ErrForeign) {
			t.Errorf("cluster %q broker %d: %v", c.cluster, c.broker, err)
		}
	}
	if _, err := open("b", 1); !errors.Is(err, ErrForeign) {
		t.Errorf("the cluster id was not kept: %v", err)
	}
}

// TestFailureIsToldOnce: what a failed sync has dropped from the page cache is a loss in the same boot, too, so the run
// after it has to know, until the cluster does.
func TestFailureIsToldOnce(t *testing.T) {
	mem := vfs.NewMem()
	var inject faultfs.Injector
	d := openDisk(t, faultfs.Wrap(mem, &inject))
	if d.Failed() {
		t.Error("a new disk has failed")
	}
	if err := d.SetBrokerEpoch(1); err != nil {
		t.Fatal(err)
	}
	l := openLog(t, d, Options{Settings: Settings{FlushInterval: time.Hour}})
	fill(t, l, 10, 5, 10)
	inject.Add(faultfs.Rule{Op: faultfs.Sync, Glob: "*.log", Err: errDisk})
	if err := l.sync(); !errors.Is(err, ErrOffline) {
		t.Fatalf("sync: %v", err)
	}
	_ = d.Close(false)
	for i, want := range []bool{true, true, false} {
		mem = mem.KillClone()
		d := openDisk(t, mem)
		if d.Failed() != want {
			t.Errorf("run %d after the failure: failed %v, want %v", i+1, d.Failed(), want)
		}
		if i == 1 { // the first one did not get as far as registering
			if err := d.SetBrokerEpoch(2); err != nil {
				t.Fatal(err)
			}
		}
		_ = d.Close(false)
	}
}

func TestCleanStop(t *testing.T) {
	mem := vfs.NewMem()
	run := func(epoch int64, append, clean bool) (lastEpoch int64, wasClean bool) {
		d := openDisk(t, mem)
		lastEpoch, wasClean = d.LastBrokerEpoch()
		if err := d.SetBrokerEpoch(epoch); err != nil {
			t.Fatal(err)
		}
		l := openLog(t, d, Options{Settings: Settings{FlushInterval: time.Hour}})
		if append {
			fill(t, l, l.Next()+10, 5, 10)
		}
		if err := d.Close(clean); err != nil {
			t.Fatal(err)
		}
		mem = mem.CrashClone(uint64(epoch), 0)
		return lastEpoch, wasClean
	}
	for i, c := range []struct {
		append, clean bool
		wasClean      bool
	}{
		{true, true, false},
		{true, true, true},
		{false, false, true}, // nothing was changed, so the mark holds
		{true, false, true},
		{true, true, false},
		{true, true, true},
	} {
		epoch, clean := run(int64(10+i), c.append, c.clean)
		if want := int64(9 + i); clean != c.wasClean || i > 0 && epoch != want {
			t.Errorf("run %d: the one before was of epoch %d, clean %v", i, epoch, clean)
		}
	}
	// After a clean stop nothing is verified: not one byte of the log is read beyond what the index
	// leaves open.
	var inject faultfs.Injector
	inject.Add(faultfs.Rule{Op: faultfs.Sync, Times: -1, Err: errDisk})
	d, err := OpenDisk(DiskOptions{FS: faultfs.Wrap(mem, &inject), Dir: testDir, BrokerID: 1})
	if err != nil {
		t.Fatal(err)
	}
	l := openLog(t, d, Options{})
	if l.Next() == 0 || l.Durable() != l.Next() {
		t.Errorf("ends at %d, durable to %d", l.Next(), l.Durable())
	}
	_ = d.Close(false)
}

func TestRemove(t *testing.T) {
	mem := vfs.NewMem()
	d := openDisk(t, mem)
	l := openLog(t, d, Options{Settings: Settings{SegmentBytes: 1000}})
	fill(t, l, 50, 5, 50)
	e, err := l.Read(7, 50, 1<<20, true)
	if err != nil {
		t.Fatal(err)
	}
	g := l.Sealed(0)[0]
	if _, err := g.ReadAt(make([]byte, 1), 0); err != nil {
		t.Fatal(err)
	}
	if err := d.Remove(testID, 0); err != nil {
		t.Fatal(err)
	}
	// Readers keep what they hold, nobody gets anything anew.
	if b, err := e.AppendTo(nil); err != nil {
		t.Error(err)
	} else {
		mustCheck(t, b, 5, e.NextOffset())
	}
	e.Release()
	if _, err := g.ReadAt(make([]byte, 10), 0); err != nil {
		t.Error(err)
	}
	g.Release()
	if _, err := l.Read(7, 50, 10, true); !errors.Is(err, ErrClosed) {
		t.Errorf("read: %v", err)
	}
	if _, err := l.Append([]batch.Batch{makeBatch(t, 50, 1, 1, 0)}); !errors.Is(err, ErrClosed) {
		t.Errorf("append: %v", err)
	}
	if refs, err := d.Partitions(); err != nil || len(refs) != 0 {
		t.Errorf("partitions %v, %v", refs, err)
	}
	// The partition comes back empty, also after a power cut right now.
	after := openDisk(t, mem.CrashClone(1, 0))
	if l := openLog(t, after, Options{}); l.Next() != 0 {
		t.Errorf("the removed log ends at %d", l.Next())
	}
	_ = after.Close(false)
	l = openLog(t, d, Options{})
	fill(t, l, 5, 5, 50)
	if refs, err := d.Partitions(); err != nil || !slices.Equal(refs, []Ref{{ID: testID}}) {
		t.Errorf("partitions %v, %v", refs, err)
	}
	if err := d.Close(true); err != nil {
		t.Fatal(err)
	}
	names, _ := mem.ReadDir(testDir)
	for _, n := range names {
		if strings.HasSuffix(n.Name(), deletedSuffix) {
			t.Errorf("%s is left", n.Name())
		}
	}
}

// TestRemoveCrash cuts the power at every step of a removal: the partition is there or not, never
// damaged, and the disk opens.
func TestRemoveCrash(t *testing.T) {
	mem := vfs.NewMem()
	var inject faultfs.Injector
	d := openDisk(t, faultfs.Wrap(mem, &inject))
	l := openLog(t, d, Options{Settings: Settings{SegmentBytes: 1000}})
	fill(t, l, 50, 5, 50)
	if err := l.sync(); err != nil {
		t.Fatal(err)
	}
	d.timedCheckpoint()
	fill(t, l, 52, 2, 50)
	var n atomic.Int64
	inject.Add(faultfs.Rule{Times: -1, Do: func(op faultfs.Op, name string) {
		if !op.Changes() {
			return
		}
		for seed := range uint64(20) {
			n.Add(1)
			left := mem.CrashClone(seed, int(seed)*50)
			if seed > 2 { // a kill, and a power cut once the next process has deleted what it found
				left = mem.KillClone()
				_ = openDisk(t, left).Close(false)
				left = left.CrashClone(seed, 50)
			}
			after := openDisk(t, left)
			l, err := after.Open(testID, 0, Options{})
			if err != nil {
				t.Errorf("crash before %s %s: %v", op, name, err)
			} else if end := l.Next(); end != 0 && end < 50 {
				t.Errorf("crash before %s %s: ends at %d", op, name, end)
			}
			_ = after.Close(false)
		}
	}})
	if err := d.Remove(testID, 0); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(true); err != nil || n.Load() == 0 {
		t.Fatal(n.Load(), err)
	}
}

func TestBudget(t *testing.T) {
	d, err := OpenDisk(DiskOptions{FS: vfs.NewMem(), Dir: testDir, Files: 3*filesPerLog + filesPerSealed*minSealedOpen})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close(true) }()
	for p := range int32(3) {
		l, err := d.Open(testID, p, Options{Settings: Settings{SegmentBytes: 500}})
		if err != nil {
			t.Fatal(err)
		}
		fill(t, l, 100, 2, 100)
		mustCheck(t, readAll(t, l, 0, 100, 100), 0, 100)
	}
	if n := d.sealed.count(); n > minSealedOpen {
		t.Errorf("%d sealed segments are open", n)
	}
	if _, err := d.Open(testID, 3, Options{}); !errors.Is(err, ErrFileLimit) || !strings.Contains(err.Error(), "RLIMIT_NOFILE") {
		t.Errorf("a partition too many: %v", err)
	}
	if err := d.Remove(testID, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Open(testID, 3, Options{}); err != nil {
		t.Error(err)
	}
	if _, err := d.Open(testID, 3, Options{}); !errors.Is(err, ErrOpen) {
		t.Errorf("opened twice: %v", err)
	}
}

// Disks of one process have what it may have between them.
func TestBudgetIsShared(t *testing.T) {
	const disks, logs = 2, 3
	files := disks * (logs*filesPerLog + filesPerSealed*minSealedOpen)
	mem := vfs.NewMem()
	for i := range disks {
		d, err := OpenDisk(DiskOptions{FS: mem, Dir: fmt.Sprintf("/disk%d", i), Files: files, Share: disks})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = d.Close(true) }()
		for p := range int32(logs) {
			if _, err := d.Open(testID, p, Options{}); err != nil {
				t.Errorf("disk %d, log %d: %v", i, p, err)
			}
		}
		if _, err := d.Open(testID, logs, Options{}); !errors.Is(err, ErrFileLimit) {
			t.Errorf("disk %d, a log too many: %v", i, err)
		}
	}
}

func TestFullness(t *testing.T) {
	mem := vfs.NewMem()
	mem.SetCapacity(10 << 20)
	mb := func(n int64) Threshold { return Threshold{Percent: 100, Bytes: n << 20} }
	d, err := OpenDisk(DiskOptions{FS: mem, Dir: testDir, Thresholds: Thresholds{Low: mb(6), VeryLow: mb(4), Full: mb(2)}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close(true) }()
	l := openLog(t, d, Options{Settings: Settings{SegmentBytes: 1 << 20}})
	seen := map[Fullness]bool{}
	for {
		u, err := d.Usage()
		if err != nil {
			t.Fatal(err)
		}
		seen[u.Fullness] = true
		_, err = l.Append([]batch.Batch{makeBatch(t, l.Next(), 10, 5000, 0)})
		if u.Fullness == Full != errors.Is(err, ErrFull) {
			t.Fatalf("append with %d MiB free: %v", u.Free>>20, err)
		}
		if err != nil {
			break
		}
	}
	if len(seen) != 4 {
		t.Errorf("levels seen: %v", seen)
	}
	if u, _ := d.Usage(); u.Free < 1<<20 {
		t.Errorf("%d bytes are free", u.Free)
	}
	if _, err := l.DropBefore(l.Next(), l.Next()); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, makeBatch(t, l.Next(), 10, 5000, 0))
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	d, err := OpenDisk(DiskOptions{FS: vfs.NewMem(), Dir: testDir, Registerer: reg})
	if err != nil {
		t.Fatal(err)
	}
	l := openLog(t, d, Options{Settings: Settings{SegmentBytes: 500}})
	fill(t, l, 100, 2, 100)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got, gauges := map[string]bool{}, map[string]float64{}
	for _, f := range families {
		got[f.GetName()] = true
		gauges[f.GetName()] = f.GetMetric()[0].GetGauge().GetValue()
		if !strings.HasPrefix(f.GetName(), "firn_segment_") {
			t.Errorf("metric %s", f.GetName())
		}
	}
	for _, want := range []string{"append_bytes_total", "sync_seconds", "rolls_total", "open_logs", "disk_offline"} {
		if !got["firn_segment_"+want] {
			t.Errorf("metric %s is missing", want)
		}
	}
	u, err := d.Usage()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]float64{
		"log_bytes": float64(l.Size()), "disk_size_bytes": float64(u.Total), "disk_free_bytes": float64(u.Free), "disk_fullness": float64(u.Fullness),
	} {
		if v, ok := gauges["firn_segment_"+name]; !ok || v != want {
			t.Errorf("%s is %v, want %v", name, v, want)
		}
	}
	_ = d.Close(true)
}

func TestDirNames(t *testing.T) {
	for _, r := range []Ref{{ID: testID}, {ID: [16]byte{1, 2, 255}, Index: 1<<31 - 1}} {
		if got, ok := parseDirName(dirName(r)); !ok || got != r {
			t.Errorf("%s: %v %v", dirName(r), got, ok)
		}
	}
	id := strings.Repeat("ab", 16)
	for _, bad := range []string{"", "x", id, id + "-", id + "--1", id + "-01", id + "-2147483648", strings.ToUpper(id) + "-0", id + "-0.deleted", id[:30] + "-0"} {
		if r, ok := parseDirName(bad); ok {
			t.Errorf("%q is %v", bad, r)
		}
	}
	if at, suffix, ok := parseOffsetName(fmt.Sprintf("%020d.log", 42)); at != 42 || suffix != logSuffix || !ok {
		t.Error(at, suffix, ok)
	}
	for _, bad := range []string{"42.log", strings.Repeat("9", 20) + ".log", strings.Repeat("0", 20), "0000000000000000000x.log"} {
		if _, _, ok := parseOffsetName(bad); ok {
			t.Errorf("%q is an offset", bad)
		}
	}
}

// A disk that fails while a log is opened, for whatever is done to it elsewhere, does not open that log: nobody would tell it.
func TestLogIsNotOpenedOnADiskThatFailsMeanwhile(t *testing.T) {
	var inject faultfs.Injector
	mem := vfs.NewMem()
	d := openDisk(t, mem)
	fill(t, openLog(t, d, Options{}), 10, 5, 10)
	if err := d.Close(true); err != nil {
		t.Fatal(err)
	}
	d = openDisk(t, faultfs.Wrap(mem, &inject))
	inject.Add(faultfs.Rule{Op: faultfs.OpenRW, Glob: "*" + logSuffix, Do: func(faultfs.Op, string) { _ = d.fail(errDisk) }})
	if _, err := d.Open(testID, 0, Options{}); !errors.Is(err, ErrOffline) {
		t.Errorf("opened: %v", err)
	}
	_ = d.Close(false)
}

// A run that is stopped before it has opened all logs that a killed one has left vouches for nothing: what those wrote last may be in
// memory only, and a power cut after it would not be noticed.
func TestStopBeforeAllLogsAreRecovered(t *testing.T) {
	const logs = 3
	for name, c := range map[string]struct {
		recovered int
		deal      func(d *Disk) error // with the last one
		clean     bool
	}{
		"none is opened":                  {0, nil, false},
		"not all are opened":              {logs - 1, nil, false},
		"all are":                         {logs, nil, true},
		"the last is taken away":          {logs - 1, func(d *Disk) error { return d.Remove(testID, logs-1) }, true},
		"nobody relies on the last":       {logs - 1, func(d *Disk) error { d.Forgo(Ref{ID: testID, Index: logs - 1}); return nil }, true},
		"the last was opened, and closed": {logs, func(d *Disk) error { return d.openLogs()[0].Close() }, true},
	} {
		mem := vfs.NewMem()
		d := openDisk(t, mem)
		if err := d.SetBrokerEpoch(1); err != nil {
			t.Fatal(err)
		}
		open := func(n int) {
			for i := range n {
				l, err := d.Open(testID, int32(i), Options{Settings: Settings{FlushInterval: time.Hour}})
				if err != nil {
					t.Fatal(err)
				}
				fill(t, l, l.Next()+10, 5, 10)
			}
		}
		open(logs)
		killed := mem.KillClone()
		_ = d.Close(false)
		d = openDisk(t, killed)
		open(c.recovered)
		if c.deal != nil {
			if err := c.deal(d); err != nil {
				t.Fatal(err)
			}
		}
		if err := d.Close(true); err != nil {
			t.Fatal(err)
		}
		d = openDisk(t, killed.CrashClone(1, 0))
		if _, clean := d.LastBrokerEpoch(); clean != c.clean {
			t.Errorf("%s: clean %v", name, clean)
		}
		_ = d.Close(false)
	}
}
