package segment

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"firn/segment/batch"
	"firn/segment/vfs"
	"firn/segment/vfs/faultfs"
)

// model is what a log must be able to say after a crash.
type model struct {
	start   int64
	batches []batch.Batch // in the log, from its first segment on
	lost    []batch.Batch // dropped from its front, oldest first, for the producers' state
	base    int64         // where the log began, at creation or by the last Reset
	epochs  epochList
	durable int64 // everything below was reported durable
}

func (m model) next() int64 {
	if n := len(m.batches); n > 0 {
		return m.batches[n-1].NextOffset()
	}
	if n := len(m.lost); n > 0 {
		return m.lost[n-1].NextOffset()
	}
	return m.base
}

func (m model) clone() model {
	m.batches = slices.Clone(m.batches)
	m.lost = slices.Clone(m.lost)
	m.epochs = slices.Clone(m.epochs)
	return m
}

// crasher runs a log over a file system that is crash-cloned before every change, and checks what the
// clone recovers to against the model before and after the step under way.
type crasher struct {
	t     *testing.T
	rng   *rand.Rand // of the script
	mem   *vfs.Mem
	disk  *Disk
	log   *Log
	state *counter
	step  string

	inject faultfs.Injector

	mu struct {
		sync.Mutex
		before, after model
		rng           *rand.Rand // of the crashes
		crashes       int
		failure       error
	}
}

func crashSettings() Settings {
	return Settings{SegmentBytes: 6 << 10, IndexInterval: 512, FlushInterval: time.Hour}
}

func newCrasher(t *testing.T, seed uint64) *crasher {
	c := &crasher{t: t, rng: rand.New(rand.NewPCG(seed, 1)), mem: vfs.NewMem()}
	c.mu.rng = rand.New(rand.NewPCG(seed, 2))
	fsys := faultfs.Wrap(c.mem, &c.inject)
	c.open(fsys)
	c.inject.Add(faultfs.Rule{Times: -1, Do: func(op faultfs.Op, name string) {
		if op.Changes() {
			c.crash(op, name)
		}
	}})
	return c
}

func (c *crasher) open(fsys vfs.FS) {
	c.disk = openDisk(c.t, fsys)
	c.disk.checkpoint.stop() // the script asks for checkpoints
	c.state = newCounter()
	c.log = openLog(c.t, c.disk, Options{Settings: crashSettings(), Producers: c.state, Logger: testLogger(c.t)})
}

// crash checks what a power cut or kill at this moment would leave.
func (c *crasher) crash(op faultfs.Op, name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.failure != nil || c.mu.rng.IntN(3) > 0 {
		return
	}
	c.mu.crashes++
	percent := []int{0, 30, 70, 95, 100}[c.mu.rng.IntN(5)]
	seed := c.mu.rng.Uint64()
	what, clone := fmt.Sprintf("power cut, %d%% of unsynced kept,", percent), c.mem.CrashClone(seed, percent)
	if percent == 100 {
		what, clone = "kill", c.mem.KillClone()
	}
	if err := c.verify(clone, percent == 100); err != nil {
		c.mu.failure = fmt.Errorf("%s: %s before %s %s: %w", c.step, what, op, name, err)
	}
}

// verify opens the file system left by a crash three times, each time after a power cut that keeps
// nothing which is not synced: the first recovery must not live on what the second does not find, and what is appended after it must be there the third time. The first
// recovery may itself be cut short by a crash.
func (c *crasher) verify(fsys *vfs.Mem, kill bool) error {
	var next int64
	for round := range 3 {
		again := c.crashIn(fsys)
		d, l, state, err := c.recover(again.fs)
		if err != nil {
			return fmt.Errorf("round %d: %w", round, err)
		}
		if round == 0 && again.clone != nil {
			if err := c.verifyOnce(again.clone); err != nil {
				return fmt.Errorf("crash in recovery before %s: %w", again.at, err)
			}
		}
		if round > 0 && l.Next() != next {
			return fmt.Errorf("round %d: recovered to %d, was %d", round, l.Next(), next)
		}
		if round < 2 {
			if err := c.compare(l, state, kill); err != nil {
				return fmt.Errorf("round %d: %w", round, err)
			}
		}
		if round == 1 {
			if err := c.goOn(l, state); err != nil {
				return fmt.Errorf("after recovery: %w", err)
			}
		}
		next = l.Next()
		if err := d.Close(false); err != nil {
			return err
		}
		fsys = fsys.CrashClone(uint64(round), 0)
	}
	return nil
}

// verifyOnce is for what a crash within the first recovery leaves: recovered again, also after a power cut behind that.
func (c *crasher) verifyOnce(fsys *vfs.Mem) error {
	for range 2 {
		d, l, state, err := c.recover(fsys)
		if err != nil {
			return err
		}
		if err := errors.Join(c.compare(l, state, false), d.Close(false)); err != nil {
			return err
		}
		fsys = fsys.CrashClone(1, 0)
	}
	return nil
}

func (c *crasher) recover(fsys vfs.FS) (*Disk, *Log, *counter, error) {
	d, err := OpenDisk(DiskOptions{FS: fsys, Dir: testDir, BrokerID: 1})
	if err != nil {
		return nil, nil, nil, err
	}
	state := newCounter()
	l, err := d.Open(testID, 0, Options{Settings: crashSettings(), Producers: state, Logger: testLogger(c.t)})
	return d, l, state, err
}

// compare holds a recovered log against what it may be.
func (c *crasher) compare(l *Log, state *counter, kill bool) error {
	before := c.mu.before.check(l, state, kill)
	if before == nil {
		return nil
	}
	if after := c.mu.after.check(l, state, kill); after != nil {
		return fmt.Errorf("neither %w nor %w", before, after)
	}
	return nil
}

// interrupted is a file system that is crash-cloned, or kill-cloned, before one of the changes made to it.
type interrupted struct {
	fs    vfs.FS
	clone *vfs.Mem
	at    string
}

func (c *crasher) crashIn(fsys *vfs.Mem) *interrupted {
	var inject faultfs.Injector
	i := &interrupted{fs: faultfs.Wrap(fsys, &inject)}
	seed, percent, left := c.mu.rng.Uint64(), c.mu.rng.IntN(150), c.mu.rng.IntN(20)
	inject.Add(faultfs.Rule{Times: -1, Do: func(op faultfs.Op, name string) {
		if !op.Changes() {
			return
		}
		if left--; left != 0 {
			return
		}
		if i.at = fmt.Sprint(op, " ", name); percent > 100 {
			i.clone = fsys.KillClone()
		} else {
			i.clone = fsys.CrashClone(seed, percent)
		}
	}})
	return i
}

// goOn appends to a recovered log, durably, on both sides of a roll.
func (c *crasher) goOn(l *Log, state *counter) error {
	for range 2 {
		b := makeBatch(c.t, l.Next(), 1, 10, max(0, epochList(l.Epochs()).last()))
		if _, err := l.Append([]batch.Batch{b}); err != nil {
			return err
		}
		state.Apply(b)
		if err := l.Roll(RollTier); err != nil {
			return err
		}
	}
	return nil
}

// check compares a recovered log with the model. Nothing durable may be missing; after a kill nothing
// at all. What is there must be right.
func (m model) check(l *Log, state *counter, kill bool) error {
	next := l.Next()
	switch {
	case next < m.durable:
		return fmt.Errorf("ends at %d, %d was durable", next, m.durable)
	case next > m.next() || kill && next != m.next():
		return fmt.Errorf("ends at %d, model at %d", next, m.next())
	case l.Start() != m.start:
		return fmt.Errorf("starts at %d, model at %d", l.Start(), m.start)
	}
	want := m.epochs.below(next)
	if got := epochList(l.Epochs()); got.last() != want.last() || l.Start() < next && got.at(l.Start()) != want.at(l.Start()) {
		return fmt.Errorf("epochs %v, model %v", got, want)
	}
	for _, b := range m.batches {
		if b.NextOffset() > next {
			if b.BaseOffset() < next {
				return fmt.Errorf("ends at %d within a batch", next)
			}
			break
		}
		if b.LastOffset() < l.Start() {
			continue
		}
		e, err := l.Read(max(b.BaseOffset(), l.Start()), b.NextOffset(), 1, true)
		if err != nil {
			return err
		}
		got, err := e.AppendTo(nil)
		e.Release()
		if err != nil {
			return err
		}
		if string(got) != string(b) {
			return fmt.Errorf("offset %d: %d bytes differ from the %d appended", b.BaseOffset(), len(got), len(b))
		}
	}
	expect := newCounter()
	for _, b := range slices.Concat(m.lost, m.batches) {
		if b.NextOffset() <= next {
			expect.Apply(b)
		}
	}
	if got, want := state.Snapshot(), expect.Snapshot(); string(got) != string(want) {
		return fmt.Errorf("producers are %x, model %x", got, want)
	}
	return nil
}

// do runs one step, whose outcome the model after describes.
func (c *crasher) do(step string, change func(*model), act func() error) {
	c.t.Helper()
	c.mu.Lock()
	c.step = step
	c.mu.after = c.mu.before.clone()
	change(&c.mu.after)
	c.mu.Unlock()
	err := act()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		err = c.mu.failure
	}
	if err != nil {
		c.t.Fatalf("%s: %v", step, err)
	}
	c.mu.before = c.mu.after
	if n := c.log.Durable(); n > c.mu.before.durable {
		c.mu.before.durable = n
	}
	c.mu.after = c.mu.before
}

func (c *crasher) append() {
	var bs []batch.Batch
	next, epoch := c.log.Next(), max(0, epochList(c.log.Epochs()).last())
	if c.rng.IntN(10) == 0 {
		epoch++
	}
	for range 1 + c.rng.IntN(3) {
		w := batch.Builder{BaseOffset: next, LeaderEpoch: epoch}
		w.SetProducer(int64(c.rng.IntN(3)), 0, 0)
		for range 1 + c.rng.IntN(5) {
			w.Add(timeOf(next), nil, valueOf(next, c.rng.IntN(700)))
		}
		b, err := w.Build(nil)
		if err != nil {
			c.t.Fatal(err)
		}
		bs = append(bs, b)
		next = batch.Batch(b).NextOffset()
	}
	c.do("append", func(m *model) {
		m.epochs = appendEpochs(m.epochs, bs)
		m.batches = append(m.batches, bs...)
	}, func() error {
		_, err := c.log.Append(bs)
		for _, b := range bs {
			c.state.Apply(b)
		}
		return err
	})
}

// tear has an append fail with part of it written, which is undone.
func (c *crasher) tear() {
	b := makeBatch(c.t, c.log.Next(), 3, 500, max(0, epochList(c.log.Epochs()).last()))
	fault := c.inject.Add(faultfs.Rule{Op: faultfs.WriteAt, Glob: "*.log", Short: c.rng.IntN(len(b)), Err: errDisk})
	c.do("torn append", none, func() error {
		if _, err := c.log.Append([]batch.Batch{b}); !errors.Is(err, errDisk) {
			return fmt.Errorf("torn append: %w", err)
		}
		return nil
	})
	fault.Remove()
}

func appendEpochs(es epochList, bs []batch.Batch) epochList {
	for _, b := range bs {
		if b.LeaderEpoch() > es.last() {
			es = es.assign(b.LeaderEpoch(), b.BaseOffset())
		}
	}
	return es
}

func none(*model) {}

func (c *crasher) truncate() {
	if len(c.mu.before.batches) == 0 {
		return
	}
	i := c.rng.IntN(len(c.mu.before.batches))
	if c.rng.IntN(2) == 0 { // mostly near the end
		i = max(i, len(c.mu.before.batches)-4)
	}
	to := c.mu.before.batches[i].BaseOffset()
	if to < c.mu.before.start {
		return
	}
	c.mu.Lock()
	// A crash within the truncation may leave either, but no more than either is promised.
	c.mu.before.durable = min(c.mu.before.durable, to)
	c.mu.Unlock()
	c.do(fmt.Sprintf("truncate to %d", to), func(m *model) {
		m.batches = m.batches[:i:i]
		m.epochs = m.epochs.below(to)
	}, func() error {
		return c.log.TruncateTo(to + int64(c.rng.IntN(int(c.mu.before.batches[i].LastOffsetDelta())+1)))
	})
}

func (c *crasher) drop() {
	at := c.log.Start() + int64(c.rng.IntN(int(c.log.Next()-c.log.Start())+1))
	if c.rng.IntN(3) == 0 {
		c.do(fmt.Sprintf("start at %d", at), func(m *model) { m.start = at }, func() error { return c.log.SetStart(at) })
	}
	first := c.log.Segments()[0].Base
	for _, i := range c.log.Segments() {
		if i.Sealed && i.End <= at {
			first = i.End
		}
	}
	c.do(fmt.Sprintf("drop before %d", at), func(m *model) {
		m.start = max(m.start, first)
		for len(m.batches) > 0 && m.batches[0].BaseOffset() < first {
			m.lost = append(m.lost, m.batches[0])
			m.batches = m.batches[1:]
		}
	}, func() error {
		_, err := c.log.DropBefore(at, at)
		return err
	})
}

func (c *crasher) reset() {
	at := int64(c.rng.IntN(int(c.log.Next()) + 100))
	c.mu.Lock()
	c.mu.before.durable = 0
	c.mu.Unlock()
	snapshot := newCounter()
	c.do(fmt.Sprintf("reset to %d", at), func(m *model) { *m = model{base: at, start: at, durable: at} }, func() error {
		return c.log.Reset(at, nil, snapshot.Snapshot())
	})
}

func (c *crasher) reopen(clean bool) {
	fsys := c.disk.fs
	c.do(fmt.Sprintf("close clean=%v", clean), none, func() error {
		next := c.log.Next()
		err := c.disk.Close(clean)
		if err == nil && clean {
			c.mu.before.durable = next
			c.mu.after.durable = next
		}
		return err
	})
	c.do("open", none, func() error {
		c.open(fsys)
		return nil
	})
}

func (c *crasher) run(steps int) {
	for range steps {
		switch c.rng.IntN(20) {
		default:
			c.append()
		case 10:
			c.tear()
		case 11, 12:
			c.do("sync", none, func() error { return c.log.sync() })
		case 13:
			c.do("roll", none, func() error { return c.log.Roll(RollTier) })
		case 14:
			c.do("checkpoint", none, func() error {
				c.log.mu.Lock()
				c.log.stashMark()
				c.log.mu.Unlock()
				c.disk.timedCheckpoint()
				return nil
			})
		case 15:
			c.truncate()
		case 16, 17:
			c.drop()
		case 18:
			c.reopen(c.rng.IntN(2) == 0)
		case 19:
			if c.rng.IntN(4) == 0 {
				c.reset()
			}
		}
	}
}

// TestCrashAtEveryStep runs scripts of everything that changes a log, crashing before a third of all
// changes to the file system. FIRN_CRASH_SEED runs one seed, FIRN_CRASH_SEEDS that many.
func TestCrashAtEveryStep(t *testing.T) {
	first, n := uint64(1), uint64(crashSeeds)
	if s := os.Getenv("FIRN_CRASH_SEEDS"); s != "" {
		n, _ = strconv.ParseUint(s, 10, 64)
		first = uint64(time.Now().UnixNano())
	}
	if s := os.Getenv("FIRN_CRASH_SEED"); s != "" {
		first, _ = strconv.ParseUint(s, 10, 64)
		n = 1
	}
	crashes := 0
	for seed := first; seed < first+n; seed++ {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			c := newCrasher(t, seed)
			c.run(120)
			c.reopen(false)
			crashes += c.mu.crashes
		})
	}
	if t.Logf("%d crashes", crashes); crashes == 0 {
		t.Error("no crash was tried")
	}
}

// A checkpoint that is written while a log is cut vouches for nothing that is not on the disk yet: without power it is lost, which
// is not damage.
func TestCheckpointWhileALogIsCut(t *testing.T) {
	for _, op := range []faultfs.Op{faultfs.Truncate, faultfs.Sync} {
		var inject faultfs.Injector
		mem := vfs.NewMem()
		d := openDisk(t, faultfs.Wrap(mem, &inject))
		l := openLog(t, d, Options{})
		fill(t, l, 20, 5, 50)
		if err := l.sync(); err != nil {
			t.Fatal(err)
		}
		fill(t, l, 100, 5, 50)
		var after *vfs.Mem
		inject.Add(faultfs.Rule{Op: op, Glob: "*" + logSuffix, Do: func(faultfs.Op, string) {
			if err := d.writeCheckpoint(); err != nil {
				t.Error(err)
			}
			after = mem.CrashClone(1, 0)
		}})
		if err := l.TruncateTo(60); err != nil || after == nil {
			t.Fatal(err, after)
		}
		if end := l.Durable(); end != 60 {
			t.Errorf("durable to %d", end)
		}
		l, err := openDisk(t, after).Open(testID, 0, Options{})
		if err != nil {
			t.Errorf("%s: %v", op, err)
			continue
		}
		if end := l.Next(); end < 20 || end > 60 {
			t.Errorf("%s: the log ends at %d", op, end)
		}
		mustCheck(t, readAll(t, l, 0, l.Next(), 1<<20), 0, l.Next())
	}
}
