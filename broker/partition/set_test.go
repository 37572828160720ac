package partition

import (
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"

	"firn/metadata/topic"
	"firn/segment"
	"firn/segment/vfs"
	"firn/segment/vfs/faultfs"
)

// A log that could not be opened for want of space is opened once there is some; one that is damaged stays as it is.
func TestLogIsOpenedOnceThereIsSpace(t *testing.T) {
	fs := vfs.NewMem()
	g := newRig(t, fs)
	u, err := fs.Usage("/data")
	if err != nil {
		t.Fatal(err)
	}
	fs.SetCapacity(u.Total - u.Free)
	r, err := g.set.Open(testTP, "test", durableConfig())
	if !errors.Is(err, syscall.ENOSPC) || !r.Reopens() {
		t.Fatalf("without space: %v, reopens %v", err, r.Reopens())
	}
	if again, err := g.set.Open(testTP, "test", durableConfig()); !errors.Is(err, syscall.ENOSPC) || again == r {
		t.Errorf("without space, once more: %v", err)
	}
	fs.SetCapacity(0)
	r = g.lead(durableConfig())
	appendOK(t, r, records(t, 1, "v"))
	if again := g.open(testTP, durableConfig()); again != r || r.Reopens() {
		t.Error("one that is open was opened again")
	}
	if brokenReplica(g, segment.ErrCorrupt).Reopens() {
		t.Error("one that is damaged is opened again")
	}
}

// Producers of a log that could not be opened do not count towards the most that a broker remembers, nor twice once it is open.
func TestProducersOfALogThatIsNotOpenedDoNotCount(t *testing.T) {
	mem := vfs.NewMem()
	few := func(o *Options) { o.MaxProducers = 4 }
	g := newRig(t, mem, few)
	r := g.lead(durableConfig())
	for id := range int64(3) {
		appendOK(t, r, idempotent(t, id, 0, 0, 1, "v"))
	}
	mem = mem.KillClone()
	g.close(false)
	var inject faultfs.Injector
	g = newRig(t, faultfs.Wrap(mem, &inject), few)
	full := inject.Add(faultfs.Rule{Op: faultfs.WriteAt, Glob: "ckpt-*", Times: -1, Err: syscall.ENOSPC})
	if _, err := g.set.Open(testTP, "test", durableConfig()); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	full.Remove()
	r = g.lead(durableConfig())
	appendOK(t, r, idempotent(t, 3, 0, 0, 1, "v"))
	if a := start(r, AcksAll, idempotent(t, 4, 0, 0, 1, "v")).wait(t); !errors.Is(a.Err, ErrTooManyProducers) {
		t.Errorf("one too many: %v", a.Err)
	}
}

// Producers of a disk that has failed leave room for those of others.
func TestProducersOfAFailedDiskDoNotCount(t *testing.T) {
	other, err := segment.OpenDisk(segment.DiskOptions{FS: vfs.NewMem(), Dir: "/other", BrokerID: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Close(false) })
	var inject faultfs.Injector
	g := newRig(t, faultfs.Wrap(vfs.NewMem(), &inject), func(o *Options) { o.MaxProducers, o.Disks = 3, append(o.Disks, other) })
	failing := g.lead(durableConfig())
	good := g.open(otherTP, durableConfig()) // each goes to the disk that has fewer
	if err := good.BecomeLeader(alone(1)); err != nil {
		t.Fatal(err)
	}
	for id := range int64(3) {
		appendOK(t, failing, idempotent(t, id, 0, 0, 1, "v"))
	}
	if a := start(good, AcksAll, idempotent(t, 9, 0, 0, 1, "v")).wait(t); !errors.Is(a.Err, ErrTooManyProducers) {
		t.Fatal(a.Err)
	}
	inject.Add(faultfs.Rule{Op: faultfs.Sync, Glob: "*.log", Err: syscall.EIO})
	if a := start(failing, AcksAll, records(t, 1, "v")).wait(t); !errors.Is(a.Err, ErrStorage) {
		t.Fatal(a.Err)
	}
	until(t, "there is room", func() bool { return g.set.producers.Load() == 0 })
	appendOK(t, good, idempotent(t, 9, 0, 0, 1, "v"))
}

// A replica may be let go of while it is appended to: what is in its log, its producers are remembered by once it is opened again.
func TestReleasedWhileItIsAppendedTo(t *testing.T) {
	var inject faultfs.Injector
	g := newRig(t, faultfs.Wrap(vfs.NewMem(), &inject))
	r := g.lead(relaxedConfig())
	snapshot := make(chan struct{})
	inject.Add(faultfs.Rule{Op: faultfs.WriteAt, Glob: "*.log", Do: func(faultfs.Op, string) { r.waiters.Lock() }}) // holds the append up behind its write
	inject.Add(faultfs.Rule{Op: faultfs.Sync, Glob: "*.log", Do: func(faultfs.Op, string) { close(snapshot) }})     // which the log has taken when it is closed
	batch := func() []byte { return idempotent(t, 7, 0, 0, 1, "v") }
	appended, released := make(chan *ack, 1), make(chan error, 1)
	go func() { appended <- start(r, AcksLeader, batch()) }()
	until(t, "it is written", func() bool { return r.log.Next() == 1 })
	go func() { released <- g.set.Release(testTP, ErrUnknownPartition) }()
	until(t, "the log is closed, or waits for the append", func() bool {
		select {
		case <-snapshot:
			return true
		default:
		}
		return slices.ContainsFunc(stacks(), func(s string) bool {
			return strings.Contains(s, "(*Set).Release") && strings.Contains(s, "sync.(*Mutex).Lock")
		})
	})
	r.waiters.Unlock()
	if err := errors.Join((<-appended).wait(t).Err, <-released); err != nil {
		t.Fatal(err)
	}
	r = g.open(testTP, relaxedConfig())
	if err := r.BecomeLeader(alone(2)); err != nil {
		t.Fatal(err)
	}
	if a := start(r, AcksLeader, batch()).wait(t); a.Err != nil || a.BaseOffset != 0 || r.Offsets().LogEnd != 1 {
		t.Errorf("the same again is at %d with %v, %+v", a.BaseOffset, a.Err, r.Offsets())
	}
}

// However many appends a failing disk holds up, all of its replicas are told that it has failed, and leave the lead to others.
func TestAppendsThatHangKeepNoReplicaFromHearingThatItsDiskFailed(t *testing.T) {
	var inject faultfs.Injector
	g := newRig(t, faultfs.Wrap(vfs.NewMem(), &inject))
	var all []*Replica
	for i := range int32(40) { // more than a disk syncs at a time
		r := g.open(topic.Partition{ID: testTP.ID, Index: i}, durableConfig())
		if err := r.BecomeLeader(alone(1)); err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	inject.Add(faultfs.Rule{Op: faultfs.Sync, Glob: "*.log", Err: syscall.EIO})
	for _, r := range all[1:] {
		r.append.Lock() // as one does that hangs in its write
		defer r.append.Unlock()
	}
	a := start(all[0], AcksLeader, records(t, 1, "v"))
	for _, r := range all {
		until(t, "all know", func() bool { return errors.Is(r.Err(), ErrStorage) })
	}
	if a.wait(t); !errors.Is(a.Err, ErrStorage) {
		t.Error(a.Err)
	}
}

// New partitions go to the disk that has the fewest, as it is by then.
func TestPartitionsAreSpreadOverDisks(t *testing.T) {
	fs := vfs.NewMem()
	var disks []*segment.Disk
	for _, dir := range []string{"/a", "/b"} {
		d, err := segment.OpenDisk(segment.DiskOptions{FS: fs, Dir: dir, BrokerID: 1})
		if err != nil {
			t.Fatal(err)
		}
		if err := d.SetBrokerEpoch(1); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = d.Close(true) }()
		disks = append(disks, d)
	}
	s, err := NewSet(Options{BrokerID: 1, Disks: disks})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	at := func(i int32) topic.Partition { return topic.Partition{ID: testTP.ID, Index: i} }
	open := func(i int32) *segment.Disk {
		t.Helper()
		r, err := s.Open(at(i), "t", durableConfig())
		if err != nil {
			t.Fatal(err)
		}
		return r.Disk()
	}
	var first []int32
	for i := range int32(6) {
		if open(i) == disks[0] {
			first = append(first, i)
		}
	}
	if len(first) != 3 {
		t.Fatalf("%v of 6 are on the first disk", first)
	}
	for _, i := range first {
		if err := s.Remove(at(i), ErrUnknownPartition); err != nil {
			t.Fatal(err)
		}
	}
	for i := range int32(3) {
		if open(6+i) != disks[0] {
			t.Errorf("partition %d is on the disk that has more", 6+i)
		}
	}
}
