package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"firn/metadata/memkv"
	"firn/segment/vfs/faultfs"
)

// fault is one kind of thing that goes wrong. It begins, lasts for a while and ends.
type fault struct {
	name   string
	weight int
	// begin makes it go wrong and returns what ends it, and a text for the schedule; nil if there is nothing to be done to
	// the machine as it is.
	begin func(s *sim, rng *rand.Rand, m *machine) (end func(), text string)
}

// faults are all there are. What a fault does is drawn from the seed, too.
var faults = []fault{
	{"is killed", 5, killed},
	{"loses power", 5, powerCut},
	{"gets an empty disk", 2, wiped},
	{"is stopped", 4, stopped},
	{"freezes", 4, frozen},
	{"has a full disk", 2, full},
	{"is cut off from a broker", 3, partitioned},
	{"is cut off from a broker in one direction", 3, halfPartitioned},
	{"is cut off from all brokers", 3, isolated},
	{"is cut off from all brokers, and then all others die", 3, outdated},
	{"is cut off from clients", 1, unseen},
	{"sees nobody any more but clients", 5, estranged},
	{"answers no client any more, and dies of it", 3, silent},
	{"is cut off from the key space", 4, withoutKeys},
	{"is cut off from the bucket", 2, withoutBucket},
	{"alone still reaches the bucket", 2, othersWithoutBucket},
	{"has a bit of a sealed segment flipped", 1, rotten},
	{"and all others are stopped, and it finds zeros in what it wrote last", 5, rottenAtRest},
	{"leaves for good, and another takes its place", 4, leaves},
	{"loses its lease", 3, expired},
	{"loses its watches", 3, unwatched},
	{"hears of changes in the key space later", 4, unaware},
	{"has its calls of the key space go wrong", 4, kvStorm},
	{"has its calls of the bucket go wrong", 3, bucketStorm},
	{"has its connections broken", 3, reset},
	{"and all others are without the key space", 2, noKeys},
	{"has a disk that fails", 2, failing},
	{"and all others are killed", 1, allKilled},
	{"and all others lose power", 2, allPowerCut},
	{"is to lead more, or less", 4, reassigned},
	{"has its wall clock jump", 3, jumped},
	{"sees a topic's settings change", 4, retuned},
}

func killed(s *sim, _ *rand.Rand, m *machine) (func(), string) {
	if !m.goesDown() {
		return nil, ""
	}
	m.crash()
	return m.comesUp, ""
}

// goesDown says that a machine's process is not to be started again, unless it is down already.
func (m *machine) goesDown() bool {
	was := m.planned && m.life != nil
	m.planned = m.planned && !was
	return was
}

// comesUp starts the process again.
func (m *machine) comesUp() {
	if m.life != nil { // still stopping: its supervisor does not wait any longer
		m.crash()
	}
	m.s.net.on(m.host)
	m.planned = true
	if err := m.start(); err != nil {
		m.s.violation("broker %d: %v", m.id, err)
	}
}

func powerCut(s *sim, rng *rand.Rand, m *machine) (func(), string) {
	kept := []int{0, 50, 100}[rng.IntN(3)]
	seed := rng.Uint64()
	if m.life == nil || !m.planned || !s.mayLose(m, unsynced) {
		return nil, ""
	}
	s.forgets(m)()
	m.goesDown()
	m.losePower(seed, kept)
	return m.comesUp, fmt.Sprintf("%d%% of what was not synced is kept", kept)
}

func wiped(s *sim, rng *rand.Rand, m *machine) (func(), string) {
	which := rng.IntN(len(m.dirs))
	if m.life == nil || !m.planned || !s.mayLose(m, disk) {
		return nil, ""
	}
	m.goesDown()
	m.crash()
	if err := m.replaceDisk(which); err != nil {
		s.violation("replace a disk: %v", err)
	}
	return m.comesUp, m.dirs[which]
}

// failingOps are the calls that fail, those that matter most more often.
var failingOps = []faultfs.Op{
	faultfs.Sync, faultfs.Sync, faultfs.WriteV, faultfs.SyncDir, faultfs.ReadAt, faultfs.Create, faultfs.Open, faultfs.OpenRW,
	faultfs.WriteAt, faultfs.Truncate, faultfs.Rename, faultfs.Remove, faultfs.Stat, faultfs.ReadDir,
}

// failing is a disk on which a kind of call fails, once or from now on. It is mended by a restart, or in a power cut.
func failing(s *sim, rng *rand.Rand, m *machine) (func(), string) {
	dir := m.dirs[rng.IntN(len(m.dirs))]
	op := failingOps[rng.IntN(len(failingOps))]
	why := []error{syscall.EIO, syscall.EIO, syscall.ENOSPC, syscall.EMFILE}[rng.IntN(4)]
	times, cut, seed := 1-2*rng.IntN(2), rng.IntN(2) == 0, rng.Uint64()
	if !s.mayLose(m, unsynced) {
		return nil, ""
	}
	s.losing(m, unsynced)
	forgotten := s.forgets(m)
	ends := m.fails()
	armed := m.disks.Add(faultfs.Rule{Op: op, Glob: dir + "/*/*", Times: times, Err: why})
	return func() {
		armed.Remove()
		ends()
		if m.goesDown() {
			if cut {
				m.losePower(seed, 0)
			} else {
				m.crash()
			}
			m.comesUp()
		}
		s.lose(m, unsynced)
		forgotten()
	}, fmt.Sprintf("%s on %s, %d times: %v", op, dir, times, why)
}

// together does to every machine that is up what a fault does to one.
func (s *sim) together(rng *rand.Rand, begin func(*sim, *rand.Rand, *machine) (func(), string)) (func(), string) {
	var ends []func()
	for _, m := range s.machines {
		if end, _ := begin(s, rng, m); end != nil {
			ends = append(ends, end)
		}
	}
	if len(ends) == 0 {
		return nil, ""
	}
	return func() {
		for _, end := range ends {
			end()
		}
	}, fmt.Sprintf("%d", len(ends))
}

func allKilled(s *sim, rng *rand.Rand, _ *machine) (func(), string) { return s.together(rng, killed) }

func allPowerCut(s *sim, rng *rand.Rand, _ *machine) (func(), string) {
	return s.together(rng, powerCut)
}

// maxJump is how far a wall clock jumps at most: a record an hour ahead of it would be refused.
const maxJump = 50 * time.Minute

// jumped is a wall clock that jumps forward or back, and back again in the end.
func jumped(_ *sim, rng *rand.Rand, m *machine) (func(), string) {
	by := time.Duration(rng.Int64N(int64(2*maxJump))) - maxJump
	m.skew.Store(int64(by))
	return func() { m.skew.Store(0) }, by.String()
}

// reassigned gives one partition other replicas, or the same in another order, and has the first of them elected.
func reassigned(s *sim, rng *rand.Rand, m *machine) (func(), string) {
	w := s.workloads[rng.IntN(len(s.workloads))]
	partition := rng.Int32N(partitions)
	to := s.order(m)[:copies-rng.IntN(2)]
	s.side.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		var req kadm.AlterPartitionAssignmentsReq
		req.Assign(w.name, partition, to)
		var elect kadm.TopicsSet
		elect.Add(w.name, partition)
		_, err := s.adm.AlterPartitionAssignments(ctx, req)
		_, err2 := s.adm.ElectLeaders(ctx, kadm.ElectPreferredReplica, elect)
		s.log("%s-%d was to be on %v: %v, %v", w.name, partition, to, err, err2)
	})
	return func() {}, fmt.Sprintf("%s-%d on %v", w.name, partition, to)
}

func stopped(s *sim, _ *rand.Rand, m *machine) (func(), string) {
	if !m.goesDown() {
		return nil, ""
	}
	m.life.stop()
	return m.comesUp, ""
}

func frozen(s *sim, _ *rand.Rand, m *machine) (func(), string) {
	l := m.life
	if l == nil {
		return nil, ""
	}
	s.net.setFrozen(m.host, true)
	for _, g := range l.gates() {
		g.close()
	}
	return func() {
		for _, g := range l.gates() {
			g.reopen()
		}
		s.net.setFrozen(m.host, false)
	}, ""
}

func full(s *sim, rng *rand.Rand, m *machine) (func(), string) {
	u, err := m.fs.Usage(m.dirs[0])
	if err != nil {
		return nil, ""
	}
	left := int64(rng.IntN(64 << 10))
	ends := m.fails() // without a block left no registration can be kept on the disk
	m.fs.SetCapacity(u.Total - u.Free + left)
	return func() {
		m.fs.SetCapacity(0)
		ends()
	}, fmt.Sprintf("%d bytes are left", left)
}

// shut closes gates until the fault ends.
func shut(gates ...*gate) func() {
	for _, g := range gates {
		g.close()
	}
	return func() {
		for _, g := range gates {
			g.reopen()
		}
	}
}

func withoutKeys(s *sim, rng *rand.Rand, m *machine) (func(), string) {
	l := m.life
	if l == nil {
		return nil, ""
	}
	if rng.IntN(2) == 0 {
		return shut(l.kv), "nothing answers"
	}
	l.each(func(c *memkv.Client) { c.Cut(true) })
	return func() { l.each(func(c *memkv.Client) { c.Cut(false) }) }, "connections are refused"
}

func withoutBucket(s *sim, _ *rand.Rand, m *machine) (func(), string) {
	l := m.life
	if l == nil {
		return nil, ""
	}
	return shut(l.bucket), ""
}

// estranged is a broker that clients alone still reach, for longer than its lease lasts: others lead and coordinate meanwhile.
func estranged(s *sim, rng *rand.Rand, m *machine) (func(), string) {
	if m.life == nil {
		return nil, ""
	}
	informed := shut(m.life.kv)
	connected, _ := isolated(s, rng, m)
	return func() {
		s.after(leftAlone, func() {
			informed()
			connected()
		})
	}, ""
}

// othersWithoutBucket has all lose the bucket but one: that may be a leader whose followers cannot follow it into the tier.
func othersWithoutBucket(s *sim, _ *rand.Rand, m *machine) (func(), string) {
	var all []*gate
	for _, o := range s.machines {
		if o != m && o.life != nil {
			all = append(all, o.life.bucket)
		}
	}
	return shut(all...), ""
}

func expired(s *sim, _ *rand.Rand, m *machine) (func(), string) {
	if m.life == nil {
		return nil, ""
	}
	s.kv.ExpireLease(m.life.lastLease())
	return func() {}, ""
}

func unwatched(s *sim, rng *rand.Rand, m *machine) (func(), string) {
	l := m.life
	if l == nil {
		return nil, ""
	}
	text := ""
	if rng.IntN(2) == 0 {
		s.kv.Compact(s.kv.Rev())
		text = "and what they missed is compacted"
	}
	l.each(func(c *memkv.Client) { c.BreakWatches() })
	return func() {}, text
}

// unaware is a broker that goes on with a picture of the cluster that is out of date, though all its calls come through.
func unaware(_ *sim, _ *rand.Rand, m *machine) (func(), string) {
	if m.life == nil {
		return nil, ""
	}
	return shut(m.life.news), ""
}

func kvStorm(_ *sim, rng *rand.Rand, m *machine) (func(), string) {
	percent := 5 + rng.IntN(40)
	m.kvWeather.set(percent)
	return func() { m.kvWeather.set(0) }, fmt.Sprintf("%d%%", percent)
}

func bucketStorm(_ *sim, rng *rand.Rand, m *machine) (func(), string) {
	percent := 5 + rng.IntN(60)
	m.bucketWeather.set(percent)
	return func() { m.bucketWeather.set(0) }, fmt.Sprintf("%d%%", percent)
}

func noKeys(s *sim, _ *rand.Rand, _ *machine) (func(), string) {
	var all []*gate
	for _, m := range s.machines {
		if m.life != nil {
			all = append(all, m.life.kv)
		}
	}
	return shut(all...), ""
}

const (
	minFaults, maxFaults = 3, 9
	span                 = 10 * time.Second // within which faults begin
	longest              = 6 * time.Second  // that one lasts
)
