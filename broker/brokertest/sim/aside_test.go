//go:build synctests

package sim

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"firn/metadata/memkv"
	"firn/segment/vfs"
	"firn/segment/vfs/faultfs"
)

// asidePartition is the partition whose log is damaged, asideSuffix the end of its directory's name.
const (
	asidePartition = 0
	asideSuffix    = "-0"
)

// death is how a machine's process ends at some step of setting a damaged log aside.
type death struct {
	name    string
	running bool // the damage is found while it runs, by reading, and not when it starts
	kept    int  // percent of what was not synced that a power cut leaves, negative for kill -9
	all     bool // the others are killed, too, and come back later
}

// A broker whose log is damaged dies, by kill -9 or a power cut, at each step of giving the replica up and putting the log
// away: before and after the cluster counts on it no more, and before each change of the disk. When it is back the damaged
// log is kept, once, the replica is in sync again, and of what clients saw nothing is wrong: nothing acknowledged is lost,
// nothing that was not is read, and all copies agree.
func TestCrashWhileADamagedLogIsSetAside(t *testing.T) {
	for _, d := range []death{
		{"killed", false, -1, false},
		{"power cut", false, 0, false},
		{"power cut, half is kept", false, 50, false},
		{"killed, found while it ran", true, -1, false},
		{"power cut, found while it ran", true, 0, false},
		{"killed with all others and back before them, found while they ran", true, -1, true},
	} {
		t.Run(d.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSim(1, slog.LevelWarn)
				s.brokers, s.workloads = copies, []workload{{name: durable.name, settings: []string{"remote.storage.enable=false", "local.retention.ms=-2"}}}
				steps, err := s.crashSettingAside(d)
				s.end()
				if err != nil || len(s.violations) > 0 || t.Failed() {
					t.Errorf("%v %v\n%s%s", err, s.violations, s.schedule.String(), s.logBytes.b.Bytes())
				}
				if t.Logf("crashed before %s", strings.Join(steps, ", ")); len(steps) < 12 {
					t.Error("so few are not all steps")
				}
			})
		})
	}
}

// crashSettingAside damages a log on one machine after the other, and crashes at one step more each time, until the machine
// gets to the end. It returns what it crashed before.
func (s *sim) crashSettingAside(d death) (steps []string, err error) {
	if err := errors.Join(s.build(), s.begin()); err != nil {
		return nil, err
	}
	for n := 0; ; n++ {
		m := s.machines[(n+1)%len(s.machines)] // the first may be the controller, which writes for others
		was := m.asides()
		crash, err := s.damage(m, d, n)
		if err != nil {
			return steps, err
		}
		err = s.eventually("the damaged log is set aside", func() error {
			crash.revive()
			if names := m.asides(); len(names) != 1 || slices.Equal(names, was) {
				return fmt.Errorf("%v are kept, before it were %v", names, was)
			}
			return nil
		})
		if err != nil {
			return steps, err
		}
		if err := s.eventually("all are in sync again", func() error { crash.revive(); return s.allInSync() }); err != nil {
			return steps, err
		}
		m.planned = true
		before := crash.disarm()
		if before == "" && n < 2 {
			return steps, errors.New("it gave the replica up without a word")
		}
		if before == "" {
			return steps, s.judge()
		}
		s.log("broker %d crashed before %s", m.id, before)
		steps = append(steps, before)
	}
}

// A leader that is alone in sync finds its log damaged while those that could take its part are away: it goes on with what is good of
// it, and sets it aside once one of them is back, who has all that is committed.
func TestDamagedLogIsSetAsideOnceAnEligibleReplicaIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(1, slog.LevelWarn)
		s.brokers, s.workloads = copies, []workload{{name: durable.name, settings: []string{"remote.storage.enable=false", "local.retention.ms=-2", "segment.bytes=1048576"}}}
		err := s.damageTheLast()
		s.end()
		if err != nil || len(s.violations) > 0 {
			t.Errorf("%v %v\n%s%s", err, s.violations, s.schedule.String(), s.logBytes.b.Bytes())
		}
	})
}

func (s *sim) damageTheLast() error {
	if err := errors.Join(s.build(), s.begin()); err != nil {
		return err
	}
	m := s.machines[1]
	if err := s.eventually("some records are committed", func() error {
		ends, err := s.adm.ListEndOffsets(context.Background(), durable.name)
		if end, _ := ends.Lookup(durable.name, asidePartition); err != nil || end.Offset < 10 {
			return fmt.Errorf("%d, %w", end.Offset, err)
		}
		return nil
	}); err != nil {
		return err
	}
	var others []*machine
	for _, o := range s.machines {
		if o != m && o.goesDown() {
			o.crash()
			others = append(others, o)
		}
	}
	var eligible []int32 // the last to die, or both
	if err := s.eventually("it leads alone", func() error {
		for p := range s.partitionsOf(durable.name) {
			if p.Partition.Index != asidePartition {
				continue
			}
			if eligible = p.ELR; p.Leader != m.id || len(p.ISR) > 1 || len(p.ELR) == 0 {
				return fmt.Errorf("leader %d, in sync %v, eligible %v", p.Leader, p.ISR, p.ELR)
			}
		}
		return nil
	}); err != nil {
		return err
	}
	slices.SortFunc(others, func(a, b *machine) int { return slices.Index(eligible, b.id) - slices.Index(eligible, a.id) })
	tail, err := s.client(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite())
	if err != nil {
		return err
	}
	defer tail.Close()
	ctx, cancel := context.WithTimeout(context.Background(), alone)
	defer cancel()
	for range 20 {
		if err := tail.ProduceSync(ctx, &kgo.Record{Topic: durable.name, Partition: asidePartition, Value: make([]byte, 100)}).FirstErr(); err != nil {
			return err
		}
	}
	if err := m.shutdown(); err != nil {
		return err
	}
	// What is damaged are the last batch that the others have, too, which consumers find, and the first that came while they were
	// dead: who asks for what they lack gets no further than that. The log's end is whole, so that it can be opened.
	var theirs int
	err = others[0].change(others[0].files(".log")[0], func(b []byte) { theirs = len(batches(b)) })
	if err == nil {
		err = m.change(m.files(".log")[0], func(b []byte) {
			for _, batch := range batches(b)[theirs-1 : theirs+1] {
				clear(batch)
			}
		})
	}
	if err != nil {
		return err
	}
	if m.comesUp(); len(s.violations) > 0 {
		return nil
	}
	cl, err := s.client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{durable.name: {asidePartition: kgo.NewOffset().AtStart()}}))
	if err != nil {
		return err
	}
	ctx, cancel = context.WithTimeout(context.Background(), alone)
	defer cancel()
	for ctx.Err() == nil {
		cl.PollFetches(ctx) // gets as far as the damage
	}
	cl.Close()
	if names := m.asides(); len(names) > 0 {
		return fmt.Errorf("%v are set aside while nobody else is there", names)
	}
	for _, o := range others {
		o.comesUp()
		if err := s.eventually("the damaged log is set aside", func() error {
			if names := m.asides(); len(names) != 1 {
				return fmt.Errorf("%v are kept", names)
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return s.awaitInSync()
}

// batches are those of a log file.
func batches(b []byte) (all [][]byte) {
	for len(b) > 0 {
		n := 12 + binary.BigEndian.Uint32(b[8:])
		all, b = append(all, b[:n]), b[n:]
	}
	return all
}

// logDirs are the directories of the partition on disks, by the end of their names.
func logDirs(fsys vfs.FS, disks []string, suffix string) (dirs []string) {
	for _, disk := range disks {
		names, err := fsys.ReadDir(disk)
		if err != nil {
			continue // not made yet
		}
		for _, n := range names {
			base, _, _ := strings.Cut(n.Name(), ".")
			if n.IsDir() && strings.HasSuffix(base, asideSuffix) && strings.HasSuffix(n.Name(), suffix) {
				dirs = append(dirs, filepath.Join(disk, n.Name()))
			}
		}
	}
	return dirs
}

// asides are the damaged logs that are kept.
func (m *machine) asides() []string { return logDirs(m.fs, m.dirs, ".damaged") }

// files are those of the partition's log, by the end of their names and in their order.
func (m *machine) files(suffix string) (list []string) {
	for _, dir := range logDirs(m.fs, m.dirs, asideSuffix) {
		names, err := m.fs.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, n := range names {
			if strings.HasSuffix(n.Name(), suffix) {
				list = append(list, filepath.Join(dir, n.Name()))
			}
		}
	}
	return list
}

// damage damages a sealed segment of the partition on a machine, whose process is to die at step n: it cuts it short while no
// process runs, which has ended in order or by kill -9, or flips a bit under one that does.
func (s *sim) damage(m *machine, d death, n int) (*crashing, error) {
	if err := s.eventually("there are sealed segments", func() error {
		if list := m.files(".log"); len(list) < 4 {
			return fmt.Errorf("broker %d has %v", m.id, list)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	m.planned = false
	if d.running {
		c := s.crashAt(m, d, n)
		return c, change(m.fs, m.files(".log")[0], flip)
	}
	if n%2 == 0 {
		if err := m.shutdown(); err != nil {
			return nil, err
		}
	} else {
		m.crash()
	}
	s.net.on(m.host)
	if err := change(m.fs, m.files(".log")[0], shorten); err != nil {
		return nil, err
	}
	return s.crashAt(m, d, n), m.start()
}

// change does something to a file, for good.
func change(fsys vfs.FS, name string, do func(f vfs.File, size int64) error) error {
	f, err := fsys.OpenRW(name)
	if err != nil {
		return err
	}
	size, err := f.Size()
	return errors.Join(err, do(f, size), f.Sync(), f.Close())
}

// shorten takes the last byte of a file.
func shorten(f vfs.File, size int64) error { return f.Truncate(size - 1) }

// flip flips a bit of the last byte of a file.
func flip(f vfs.File, size int64) error {
	var b [1]byte
	_, err := f.ReadAt(b[:], size-1)
	b[0] ^= 1
	_, err2 := f.WriteAt(b[:], size-1)
	return errors.Join(err, err2)
}

// alone is how long a machine is up before the others: long enough for it to be elected, if it could be.
const alone = 8 * time.Second

// crashing is a process that is to die at a step.
type crashing struct {
	m       *machine
	death   death
	seed    uint64
	armed   *faultfs.Armed
	mu      sync.Mutex
	left    int // steps until then
	before  string
	revived bool
	fs      *vfs.Mem // as it was at that step
	found   bool     // the log is being taken away
	appends bool     // the new log is being written to
}

// crashAt has the next process of a machine die at step n: step 0 is the write by which the cluster is to count on the
// replica no more, which does not get through, step 1 the same but it does, and the others are changes of the disk from when
// the log is taken away.
func (s *sim) crashAt(m *machine, d death, n int) *crashing {
	c := &crashing{m: m, death: d, seed: uint64(n), left: n}
	var key string
	for p := range s.partitionsOf(durable.name) {
		if p.Partition.Index == asidePartition {
			key = s.store.Keys().Partition(p.Partition)
		}
	}
	fs := m.fs
	calls := func(call memkv.Call) memkv.Fault {
		f := m.kvWeather.kvFault(call)
		if n < 2 && call.Write && slices.Contains(call.Keys, key) && c.dies(fs, "the write to the metadata") {
			f.Refuse = n == 0
		}
		return f
	}
	m.kvCalls.Store(&calls)
	if n >= 2 {
		c.left = n - 2
		c.armed = m.disks.Add(faultfs.Rule{Times: -1, Do: func(op faultfs.Op, name string) { c.at(fs, op, name) }})
	}
	return c
}

// at is called before each call of the file system. The steps end with the first record that is appended to the new log.
func (c *crashing) at(fs *vfs.Mem, op faultfs.Op, name string) {
	inLog := strings.Contains(name, asideSuffix+"/") || strings.Contains(name, asideSuffix+".")
	if !op.Changes() || !inLog && !slices.Contains(c.m.dirs, name) && !slices.Contains(c.m.dirs, filepath.Dir(name)) {
		return
	}
	c.mu.Lock()
	c.found = c.found || op == faultfs.Rename && slices.Contains(logDirs(fs, c.m.dirs, asideSuffix), name)
	due := c.found && !c.appends && c.left == 0
	if c.found {
		c.left--
		c.appends = c.appends || inLog && op == faultfs.WriteV
	}
	c.mu.Unlock()
	if due {
		c.dies(fs, fmt.Sprintf("%s %s", op, filepath.Base(name)))
	}
}

// dies is the end of the process: nothing of it gets out any more, and the disk is as it is now. It returns false if it has
// died already.
func (c *crashing) dies(fs *vfs.Mem, before string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.before != "" {
		return false
	}
	c.before = before
	for _, g := range c.m.life.gates() {
		g.kill()
	}
	if c.death.kept < 0 {
		c.m.s.net.exit(c.m.host)
		c.fs = fs.KillClone()
	} else {
		c.m.s.net.cutPower(c.m.host)
		c.fs = fs.CrashClone(c.seed, c.death.kept)
	}
	return true
}

// revive starts the process again if it has died.
func (c *crashing) revive() {
	c.mu.Lock()
	dead := c.fs != nil && !c.revived
	c.revived = c.revived || dead
	c.mu.Unlock()
	if !dead {
		return
	}
	m := c.m
	m.kill()
	m.fs = c.fs
	m.kvCalls.Store(nil)
	if c.death.kept >= 0 {
		m.boot++
	}
	var others []*machine
	for _, o := range m.s.machines {
		if c.death.all && o != m && o.goesDown() {
			o.crash()
			others = append(others, o)
		}
	}
	m.s.net.on(m.host)
	if err := m.start(); err != nil {
		m.s.violation("broker %d: %v", m.id, err)
	}
	if len(others) > 0 {
		pause(alone)
	}
	for _, o := range others {
		o.comesUp()
	}
}

// disarm says before what the process died, "" if it did not.
func (c *crashing) disarm() string {
	c.m.kvCalls.Store(nil)
	if c.armed != nil {
		c.armed.Remove()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.before
}
