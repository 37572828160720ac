package segment

import (
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"

	"firn/segment/vfs"
	"firn/segment/vfs/faultfs"
)

// Where the last step of replacing the state file lacks a descriptor, the file may say already that the log is to be
// cut. Then nothing more may be acknowledged: the next start would cut that off.
func TestTruncationOfUnknownOutcome(t *testing.T) {
	change := map[string]func(l *Log) error{
		"truncate": func(l *Log) error { return l.TruncateTo(10) },
		"reset":    func(l *Log) error { return l.Reset(10, nil, nil) },
	}
	for name, act := range change {
		for nth := 1; ; nth++ {
			var inject faultfs.Injector
			mem := vfs.NewMem()
			d := openDisk(t, faultfs.Wrap(mem, &inject))
			l := openLog(t, d, Options{Producers: newCounter(), Settings: Settings{SegmentBytes: 1 << 10}})
			fill(t, l, 30, 5, 50)
			fault := inject.Add(faultfs.Rule{Op: faultfs.SyncDir, Nth: nth, Err: syscall.EMFILE})
			err := act(l)
			if fault.Hits() == 0 { // it has no more steps
				if _ = d.Close(false); nth == 1 {
					t.Errorf("%s replaces no state file", name)
				}
				break
			}
			_, aerr := l.Append(batches(makeBatch(t, l.Next(), 5, 50, 0)))
			if !errors.Is(err, ErrOffline) || !errors.Is(aerr, ErrOffline) {
				t.Errorf("%s, directory sync %d: %v, and then %v, want offline", name, nth, err, aerr)
			}
			_ = d.Close(false)
		}
	}
}

// A disk that others have filled to its last block lets go of what is to be dropped: that must not need a block first.
func TestDropOnADiskWithoutABlock(t *testing.T) {
	for _, upTo := range []int64{500, 1000} {
		t.Run(fmt.Sprint(upTo), func(t *testing.T) {
			mem := vfs.NewMem()
			d := openDisk(t, mem)
			state := newCounter()
			l := openLog(t, d, Options{Settings: Settings{SegmentBytes: 20 << 10, IndexInterval: 512}, Producers: state})
			for l.Next() < 1000 {
				b := makeBatch(t, l.Next(), 5, 200, 0)
				mustAppend(t, l, b)
				state.Apply(b)
			}
			if err := l.sync(); err != nil {
				t.Fatal(err)
			}
			u, err := mem.Usage(testDir)
			if err != nil {
				t.Fatal(err)
			}
			mem.SetCapacity(u.Total - u.Free)
			if n, err := l.DropBefore(upTo, upTo); err != nil || n == 0 {
				t.Fatalf("dropped %d bytes: %v", n, err)
			}
			start := l.Start()
			again := newCounter()
			l = openLog(t, openDisk(t, mem.CrashClone(1, 0)), Options{Producers: again})
			if l.Start() != start || l.Next() != 1000 || string(again.Snapshot()) != string(state.Snapshot()) {
				t.Errorf("after a power cut the log is [%d, %d), was [%d, 1000), producers %x", l.Start(), l.Next(), start, again.Snapshot())
			}
			mustCheck(t, readAll(t, l, start, 1000, 5000), start, 1000)
		})
	}
}

// bulky is a ProducerState whose snapshots are large.
type bulky struct{ *counter }

func (b bulky) Snapshot() []byte { return append(b.counter.Snapshot(), make([]byte, 1<<20)...) }

// What a snapshot took before the disk was full is free again: what needs only a block still gets it.
func TestSnapshotThatDoesNotFitGivesItsPartBack(t *testing.T) {
	mem := vfs.NewMem()
	d := openDisk(t, mem)
	l := openLog(t, d, Options{Producers: bulky{newCounter()}})
	fill(t, l, 30, 5, 50)
	if err := l.sync(); err != nil {
		t.Fatal(err)
	}
	u, err := mem.Usage(testDir)
	if err != nil {
		t.Fatal(err)
	}
	mem.SetCapacity(u.Total - u.Free + 1<<19)
	if err := l.Roll(RollTier); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("roll on a disk without room for the snapshot: %v", err)
	}
	if err := l.SetStart(10); err != nil {
		t.Error(err)
	}
	if err := d.SetBrokerEpoch(7); err != nil {
		t.Error(err)
	}
}

// leaveNoBlock makes the disk as full as it can be.
func leaveNoBlock(t *testing.T, mem *vfs.Mem) {
	t.Helper()
	u, err := mem.Usage(testDir)
	if err != nil {
		t.Fatal(err)
	}
	mem.SetCapacity(u.Total - u.Free)
}

// A broker whose disk others have filled to its last block starts, registers, and lets go of what is to be dropped, over and over.
func TestStartOnADiskWithoutABlock(t *testing.T) {
	for _, clean := range []bool{false, true} {
		t.Run(fmt.Sprintf("clean %v", clean), func(t *testing.T) {
			mem := vfs.NewMem()
			d := openDisk(t, mem)
			if err := d.SetBrokerEpoch(1); err != nil {
				t.Fatal(err)
			}
			l := openLog(t, d, Options{Settings: Settings{SegmentBytes: 20 << 10}})
			fill(t, l, 1000, 5, 200)
			if err := d.Close(clean); err != nil {
				t.Fatal(err)
			}
			leaveNoBlock(t, mem)
			for epoch := int64(2); epoch < 5; epoch++ {
				if d = openDisk(t, mem); d.SetBrokerEpoch(epoch) != nil {
					t.Fatalf("epoch %d: %v", epoch, d.SetBrokerEpoch(epoch))
				}
				if err := d.Close(clean); err != nil {
					t.Fatal(err)
				}
			}
			d = openDisk(t, mem)
			if got, wasClean := d.LastBrokerEpoch(); got != 4 || wasClean != clean {
				t.Errorf("epoch %d, clean %v", got, wasClean)
			}
			l = openLog(t, d, Options{})
			end := l.Segments()[0].End
			if n, err := l.DropBefore(end, end); err != nil || n == 0 {
				t.Errorf("dropped %d bytes: %v", n, err)
			}
			mustCheck(t, readAll(t, l, end, 1000, 5000), end, 1000)
		})
	}
}

// What the spare has no room for leaves it as it was.
func TestSpareOutlivesWhatDoesNotFit(t *testing.T) {
	mem := vfs.NewMem()
	d := openDisk(t, mem)
	l := openLog(t, d, Options{})
	fill(t, l, 10, 5, 50)
	leaveNoBlock(t, mem)
	if err := l.Reset(20, nil, make([]byte, 2*spareBytes)); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if i, err := mem.Stat(d.file(spareName)); err != nil || i.Size() != spareBytes {
		t.Errorf("%v %v", i, err)
	}
	mustCheck(t, readAll(t, l, 0, 10, 5000), 0, 10)
}

// What a full disk took from the spare it gives back once there is room.
func TestSpareComesBack(t *testing.T) {
	mem := vfs.NewMem()
	d := openDisk(t, mem)
	leaveNoBlock(t, mem)
	if err := d.writeCheckpoint(); err != nil { // its file grows by a block
		t.Fatal(err)
	}
	if _, err := mem.Stat(d.file(spareName)); err == nil {
		t.Fatal("the disk had a block more than it should")
	}
	mem.SetCapacity(0)
	d.timedCheckpoint()
	if i, err := mem.Stat(d.file(spareName)); err != nil || i.Size() != spareBytes {
		t.Errorf("%v %v", i, err)
	}
}

// A log is opened on a disk without a block also where its index lost entries: it is sparser until it is sealed.
func TestLogOpensWithoutABlockForItsIndex(t *testing.T) {
	mem := vfs.NewMem()
	d := openDisk(t, mem)
	l := openLog(t, d, Options{Settings: Settings{SegmentBytes: 1 << 20}})
	fill(t, l, 3000, 5, 1000)
	if err := l.sync(); err != nil { // not its index
		t.Fatal(err)
	}
	mem = mem.CrashClone(1, 0)
	leaveNoBlock(t, mem)
	l = openLog(t, openDisk(t, mem), Options{})
	if n, err := l.DropBefore(1500, 1500); err != nil || n == 0 {
		t.Errorf("dropped %d bytes: %v", n, err)
	}
	mustCheck(t, readAll(t, l, l.Start(), 3000, 5000), l.Start(), 3000)
}

// A stop in order is one on a full disk too, where all is durable though what would spare the next start a replay found no room.
func TestCleanStopOnAFullDisk(t *testing.T) {
	mem := vfs.NewMem()
	d := openDisk(t, mem)
	if err := d.SetBrokerEpoch(3); err != nil {
		t.Fatal(err)
	}
	state := newCounter()
	l := openLog(t, d, Options{Producers: bulky{state}})
	b := makeBatch(t, 0, 5, 50, 7)
	mustAppend(t, l, b)
	state.Apply(b)
	leaveNoBlock(t, mem)
	if err := d.Close(true); err != nil {
		t.Error(err)
	}
	d = openDisk(t, mem.CrashClone(1, 0))
	if epoch, clean := d.LastBrokerEpoch(); epoch != 3 || !clean {
		t.Errorf("epoch %d, clean %v", epoch, clean)
	}
	again := newCounter()
	if l = openLog(t, d, Options{Producers: again}); l.Next() != 5 || l.LastEpoch() != 7 || string(again.Snapshot()) != string(state.Snapshot()) {
		t.Errorf("the log ends at %d, epoch %d, producers %x", l.Next(), l.LastEpoch(), again.Snapshot())
	}
}

// A full disk that fails says so to the next run: the room that this takes is the same that would let that run's epoch in.
func TestFullDiskThatFailsLeavesWord(t *testing.T) {
	var inject faultfs.Injector
	mem := vfs.NewMem()
	d := openDisk(t, faultfs.Wrap(mem, &inject))
	if err := d.SetBrokerEpoch(1); err != nil {
		t.Fatal(err)
	}
	l := openLog(t, d, Options{})
	fill(t, l, 10, 5, 50)
	inject.Add(faultfs.Rule{Op: faultfs.Create, Glob: failedName, Err: syscall.ENOSPC})
	inject.Add(faultfs.Rule{Op: faultfs.Sync, Glob: "*" + logSuffix, Err: errDisk})
	if err := l.sync(); !errors.Is(err, ErrOffline) {
		t.Fatal(err)
	}
	_ = d.Close(false)
	if d = openDisk(t, mem); !d.Failed() {
		t.Error("the next run knows nothing of the failure")
	}
}

// reservingFS is a file system on which what is set aside is no longer free. Its fields are shared by its files.
type reservingFS struct {
	vfs.FS
	aside *atomic.Int64
}

type reservingFile struct {
	vfs.File
	aside *atomic.Int64
}

func (f reservingFS) Create(name string) (vfs.File, error) {
	file, err := f.FS.Create(name)
	return reservingFile{file, f.aside}, err
}

func (f reservingFS) Usage(dir string) (vfs.Usage, error) {
	u, err := f.FS.Usage(dir)
	u.Free -= f.aside.Load()
	return u, err
}

func (f reservingFS) OpenRW(name string) (vfs.File, error) {
	file, err := f.FS.OpenRW(name)
	return reservingFile{file, f.aside}, err
}

func (f reservingFile) Reserve(_, n int64) { f.aside.Add(n) }

// Of a disk that is nearly full the logs set nothing aside that appends would then be refused for.
func TestSettingBlocksAsideFillsNoDisk(t *testing.T) {
	const full = 8 << 20
	mem := vfs.NewMem()
	var aside atomic.Int64
	logs := make([]*Log, 4)
	open := func() *Disk {
		aside.Store(0) // what is aside goes back where a broker stops
		d, err := OpenDisk(DiskOptions{FS: reservingFS{mem, &aside}, Dir: testDir, Thresholds: Thresholds{Full: Threshold{Percent: 100, Bytes: full}}})
		if err != nil {
			t.Fatal(err)
		}
		for i := range logs {
			if logs[i], err = d.Open(testID, int32(i), Options{}); err != nil {
				t.Fatal(err)
			}
		}
		return d
	}
	d := open()
	for _, l := range logs {
		fill(t, l, 16_000, 100, 1000)
	}
	if aside.Load() == 0 {
		t.Fatal("nothing was set aside while there was room")
	}
	if err := d.Close(true); err != nil {
		t.Fatal(err)
	}
	u, err := mem.Usage(testDir)
	if err != nil {
		t.Fatal(err)
	}
	mem.SetCapacity(u.Total - u.Free + full + 3<<20)
	open()
	for i, l := range logs {
		if _, err := l.Append(batches(makeBatch(t, l.Next(), 5, 5000, 0))); err != nil {
			t.Fatalf("append to log %d, with %d bytes set aside: %v", i, aside.Load(), err)
		}
	}
	if u, err = (reservingFS{mem, &aside}).Usage(testDir); err != nil || u.Free < full {
		t.Errorf("%d bytes are free, %d of them set aside: %v", u.Free, aside.Load(), err)
	}
}

// A truncation for which files have to be opened, and cannot, has not begun: the log goes on as it was, and is cut another time.
func TestTruncationWithoutDescriptors(t *testing.T) {
	for _, op := range []faultfs.Op{faultfs.ReadDir, faultfs.Open, faultfs.OpenRW} {
		for nth := 1; ; nth++ {
			var inject faultfs.Injector
			mem := vfs.NewMem()
			d := openDisk(t, faultfs.Wrap(mem, &inject))
			l := openLog(t, d, Options{Settings: Settings{SegmentBytes: 20 << 10, IndexInterval: 512}})
			fill(t, l, 400, 5, 200)
			d.sealed.mu.Lock()
			d.sealed.shrinkLocked(0)
			d.sealed.mu.Unlock()
			base, end := l.Segments()[1].Base, l.Next()
			fault := inject.Add(faultfs.Rule{Op: op, Nth: nth, Err: syscall.EMFILE})
			err := l.TruncateTo(base + 20)
			if fault.Hits() == 0 {
				_ = d.Close(false)
				break
			}
			if !errors.Is(err, syscall.EMFILE) || d.Offline() != nil || l.Next() != end {
				t.Errorf("%s %d: %v, the log ends at %d, want %d; offline: %v", op, nth, err, l.Next(), end, d.Offline())
				_ = d.Close(false)
				continue
			}
			mustCheck(t, readAll(t, l, 0, end, 5000), 0, end)
			if err := l.TruncateTo(base + 20); err != nil {
				t.Fatal(err)
			}
			fill(t, l, base+40, 5, 200)
			mustCheck(t, readAll(t, l, 0, base+40, 5000), 0, base+40)
			if err := d.Close(true); err != nil {
				t.Fatal(err)
			}
			mustCheck(t, readAll(t, openLog(t, openDisk(t, mem), Options{}), 0, base+40, 5000), 0, base+40)
		}
	}
}

// The snapshot of many producers is written twice, which what is kept back may be too little for.
func TestResetWithManyProducersOnAFullDisk(t *testing.T) {
	many := newCounter()
	for id := range int64(12000) {
		many.counts[id] = 1
	}
	many.next = 20
	snapshot := many.Snapshot()
	if len(snapshot) > spareBytes || 2*len(snapshot) < spareBytes {
		t.Fatalf("%d bytes", len(snapshot))
	}
	refused, done := 0, 0
	for left := int64(0); left < 300<<10; left += 20 << 10 {
		mem := vfs.NewMem()
		d := openDisk(t, mem)
		l := openLog(t, d, Options{Producers: newCounter()})
		fill(t, l, 10, 5, 50)
		u, err := mem.Usage(testDir)
		if err != nil {
			t.Fatal(err)
		}
		mem.SetCapacity(u.Total - u.Free + left)
		err = l.Reset(20, nil, snapshot)
		switch {
		case d.Offline() != nil:
			t.Fatalf("%d bytes left: %v", left, d.Offline())
		case err == nil && l.Next() == 20:
			done++
		case errors.Is(err, syscall.ENOSPC):
			refused++
			mustCheck(t, readAll(t, l, 0, 10, 5000), 0, 10)
		default:
			t.Errorf("%d bytes left: %v, the log ends at %d", left, err, l.Next())
		}
		_ = d.Close(false)
	}
	if refused == 0 || done == 0 {
		t.Errorf("%d refused, %d done", refused, done)
	}
}

// A log starts anew on a disk that others have filled, but for a few blocks at most, if room is kept back. Otherwise it stays as it is:
// that its disk goes offline is not for others to bring about.
func TestResetOnAFullDisk(t *testing.T) {
	refused, done := 0, 0
	for left := int64(0); left < 40; left++ {
		for _, spare := range []bool{true, false} {
			mem := vfs.NewMem()
			d := openDisk(t, mem)
			l := openLog(t, d, Options{Producers: newCounter()})
			fill(t, l, 10, 5, 50)
			if err := l.sync(); err != nil {
				t.Fatal(err)
			}
			if !spare { // others have taken that, too
				if err := mem.Remove(d.file(spareName)); err != nil {
					t.Fatal(err)
				}
				d.spare.there = false
			}
			u, err := mem.Usage(testDir)
			if err != nil {
				t.Fatal(err)
			}
			mem.SetCapacity(u.Total - u.Free + left<<9)
			err = l.Reset(20, nil, nil)
			switch {
			case d.Offline() != nil:
				t.Fatalf("spare %v, %d bytes left: %v", spare, left<<9, d.Offline())
			case err == nil && (l.Start() != 20 || l.Next() != 20):
				t.Errorf("spare %v: log [%d, %d)", spare, l.Start(), l.Next())
			case err == nil:
				done++
			case spare || !errors.Is(err, syscall.ENOSPC):
				t.Errorf("spare %v, %d bytes left: %v", spare, left<<9, err)
			default:
				refused++
				mustCheck(t, readAll(t, l, 0, 10, 5000), 0, 10)
			}
			mem.SetCapacity(0)
			if err := l.Reset(30, nil, nil); err != nil || l.Next() != 30 {
				t.Errorf("with room: %v, it ends at %d", err, l.Next())
			}
			_ = d.Close(false)
		}
	}
	if refused == 0 || done == 0 {
		t.Errorf("%d refused, %d done", refused, done)
	}
}
