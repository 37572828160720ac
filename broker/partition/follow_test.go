package partition

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"firn/metadata/topic"
	"firn/segment/vfs"
	"firn/segment/vfs/faultfs"
)

// member is one broker of a test's cluster, with its replica of testTP.
type member struct {
	*rig
	id   int32
	r    *Replica
	mem  *vfs.Mem
	conf topic.Config
}

// newMembers opens a replica of testTP on n brokers, 1 to n.
func newMembers(t *testing.T, n int, c topic.Config, change ...func(*Options)) []*member {
	t.Helper()
	var all []*member
	for id := int32(1); id <= int32(n); id++ {
		mem := vfs.NewMem()
		g := newRig(t, mem, append([]func(*Options){func(o *Options) { o.BrokerID = id }}, change...)...)
		all = append(all, &member{rig: g, id: id, r: g.open(testTP, c), mem: mem, conf: c})
	}
	return all
}

// cutPower takes from m's disk what it may lose without power, and starts m again.
func (m *member) cutPower(t *testing.T, seed uint64) {
	t.Helper()
	disk := m.mem.CrashClone(seed, 50)
	m.close(false)
	m.mem = disk
	m.rig = newRig(t, disk, func(o *Options) { o.BrokerID = m.id })
	m.r = m.open(testTP, m.conf)
}

// three is the state of testTP with all of three replicas in sync.
func three(leader, epoch int32) State {
	return State{Leader: leader, LeaderEpoch: epoch, Rev: int64(epoch) * 100, Replicas: []int32{1, 2, 3}, ISR: []int32{1, 2, 3}}
}

// elect makes one of the members lead and the others follow it.
func elect(t *testing.T, all []*member, st State) {
	t.Helper()
	for _, m := range all {
		become := m.r.BecomeFollower
		if m.id == st.Leader {
			become = m.r.BecomeLeader
		}
		if err := become(st); err != nil {
			t.Fatal(err)
		}
	}
}

// ask fetches once for m from leader without waiting, and returns the answer and what it carries.
func ask(t *testing.T, m, leader *member) (FetchPart, []byte) {
	t.Helper()
	return askAs(t, &Follower{ID: m.id, BrokerEpoch: int64(m.id) * 10}, m, leader)
}

// askOften has m ask as often as it takes the leader to know that it has asked lately, however late that was heard.
func askOften(t *testing.T, m, leader *member) {
	t.Helper()
	who := &Follower{ID: m.id, BrokerEpoch: int64(m.id) * 10}
	for range 3 {
		askAs(t, who, m, leader)
	}
}

// askAs is ask within a session.
func askAs(t *testing.T, who *Follower, m, leader *member) (FetchPart, []byte) {
	t.Helper()
	at, ok := m.r.Place()
	if !ok {
		t.Fatalf("broker %d does not follow", m.id)
	}
	f := &waitingFetch{done: make(chan struct{})}
	f.MaxBytes, f.Follower = 1<<20, who
	f.Parts = []FetchPart{{Replica: leader.r, Offset: at.Offset, MaxBytes: 1 << 20, LeaderEpoch: at.Epoch, LastEpoch: at.LastEpoch}}
	f.Done = func(*Fetch) { close(f.done) }
	leader.set.Fetch(t.Context(), &f.Fetch)
	f.wait(t)
	var records []byte
	for _, b := range f.batches(t, 0) {
		records = append(records, b...)
	}
	return f.Parts[0], records
}

// pull lets m fetch once and do what the answer says, and returns whether that brought it forward.
func pull(t *testing.T, m, leader *member) (moved bool) {
	t.Helper()
	at, _ := m.r.Place()
	p, records := ask(t, m, leader)
	var err error
	switch {
	case Outdated(p.Err), errors.Is(p.Err, ErrNotLeader):
		return false
	case errors.Is(p.Err, ErrOffsetOutOfRange) && p.LogStart <= at.Offset:
		err = m.r.StartOver(at.Epoch, p.LogStart)
	case errors.Is(p.Err, ErrOffsetTiered), errors.Is(p.Err, ErrOffsetOutOfRange):
		err = m.r.StartAnew(at.Epoch, p.LogStart)
	case p.Err != nil:
		t.Fatal(p.Err)
	case p.Diverging.Epoch >= 0:
		err = m.r.Truncate(at.Epoch, p.Diverging)
	default:
		err = m.r.AppendFetched(&Fetched{LeaderEpoch: at.Epoch, Records: records, HighWatermark: p.HighWatermark, LogStart: p.LogStart})
	}
	if err != nil {
		t.Fatalf("broker %d at %+v: %v", m.id, at, err)
	}
	until(t, "what was fetched is durable", func() bool { now, ok := m.r.Place(); return ok && now.Durable })
	now, _ := m.r.Place()
	return now.Offset != at.Offset || now.LastEpoch != at.LastEpoch
}

// catchUp lets m fetch until there is nothing more, and once more to say so.
func catchUp(t *testing.T, m, leader *member) {
	t.Helper()
	for pull(t, m, leader) {
	}
}

// logOf is everything in a replica's log, as bytes.
func logOf(t *testing.T, m *member, end int64) []byte {
	t.Helper()
	var out []byte
	for at := m.r.log.Start(); at < end; {
		e, err := m.r.log.Read(at, end, 1<<20, true)
		if err != nil {
			t.Fatal(err)
		}
		if e.Len() == 0 {
			break
		}
		if out, err = e.AppendTo(out); err != nil {
			t.Fatal(err)
		}
		at = e.NextOffset()
		e.Release()
	}
	return out
}

func TestAcksAllWaitsForEveryFollower(t *testing.T) {
	all := newMembers(t, 3, durableConfig())
	elect(t, all, three(1, 1))
	leader := all[0]
	a := start(leader.r, AcksAll, idempotent(t, 7, 0, 0, 3, "v"))
	pull(t, all[1], leader)
	pull(t, all[1], leader)
	if pull(t, all[2], leader); !a.pending() {
		t.Fatal("acknowledged before the third has said that it has it")
	}
	pull(t, all[2], leader)
	if a.wait(t); a.Err != nil || leader.r.hw.Load() != 3 {
		t.Fatal(a.Err, leader.r.hw.Load())
	}
	catchUp(t, all[1], leader)
	catchUp(t, all[2], leader)
	for _, m := range all[1:] {
		if got, want := logOf(t, m, 3), logOf(t, leader, 3); !bytes.Equal(got, want) {
			t.Errorf("broker %d has other bytes", m.id)
		}
		if hw := m.r.hw.Load(); hw != 3 {
			t.Errorf("broker %d has high watermark %d", m.id, hw)
		}
		if !slices.Equal(m.r.Producers(), leader.r.Producers()) {
			t.Errorf("broker %d knows producers %v", m.id, m.r.Producers())
		}
		if p, _ := fetch(t, m.rig, m.r, 0, 1<<20); !errors.Is(p.Err, ErrNotLeader) {
			t.Errorf("broker %d answers a client: %v", m.id, p.Err)
		}
	}
}

func TestFollowersFetchWaitsForTheLogsEnd(t *testing.T) {
	all := newMembers(t, 3, durableConfig())
	elect(t, all, three(1, 1))
	ask := func(m *member) *waitingFetch {
		f := &waitingFetch{done: make(chan struct{})}
		f.MinBytes, f.MaxBytes, f.MaxWait, f.Follower = 1, 1<<20, time.Hour, &Follower{ID: m.id, BrokerEpoch: 1}
		f.Parts = []FetchPart{{Replica: all[0].r, Offset: 0, MaxBytes: 1 << 20, LeaderEpoch: 1, LastEpoch: -1}}
		f.Done = func(*Fetch) { close(f.done) }
		all[0].set.Fetch(t.Context(), &f.Fetch)
		return f
	}
	one, other := ask(all[1]), ask(all[2])
	client := fetchWait(all[0].rig, 1, time.Hour, FetchPart{Replica: all[0].r, MaxBytes: 1 << 20, LeaderEpoch: -1, LastEpoch: -1})
	if !one.pending() || !client.pending() {
		t.Fatal("there is nothing to read yet")
	}
	other.Hurry()
	if other.wait(t); other.Parts[0].Err != nil || other.Parts[0].Bytes > 0 {
		t.Fatalf("hurried fetch: %+v", other.Parts[0])
	}
	start(all[0].r, AcksLeader, records(t, 1, "v"))
	if one.wait(t); one.Parts[0].Bytes == 0 || len(one.batches(t, 0)) != 1 {
		t.Fatalf("%+v", one.Parts[0])
	}
	if !client.pending() {
		t.Fatal("a client reads what is not committed")
	}
	client.Hurry()
	client.wait(t)
}

func TestWhoMayFetchAsFollower(t *testing.T) {
	all := newMembers(t, 3, durableConfig())
	st := three(1, 5)
	elect(t, all, st)
	for _, c := range []struct {
		name  string
		id    int32
		epoch int32
		at    int64
		want  error
	}{
		{"a stranger", 9, 5, 0, ErrNotLeader},
		{"one that knows an old epoch", 2, 4, 0, ErrFencedEpoch},
		{"one that is ahead of us", 2, 6, 0, ErrUnknownEpoch},
		{"one beyond the end", 2, 5, 1, ErrOffsetOutOfRange},
	} {
		f := &waitingFetch{done: make(chan struct{})}
		f.MaxBytes, f.Follower = 1<<20, &Follower{ID: c.id, BrokerEpoch: 1}
		f.Parts = []FetchPart{{Replica: all[0].r, Offset: c.at, MaxBytes: 1 << 20, LeaderEpoch: c.epoch, LastEpoch: -1}}
		f.Done = func(*Fetch) { close(f.done) }
		all[0].set.Fetch(t.Context(), &f.Fetch)
		if f.wait(t); !errors.Is(f.Parts[0].Err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, f.Parts[0].Err, c.want)
		}
	}
	if err := all[1].r.AppendFetched(&Fetched{LeaderEpoch: 4}); !errors.Is(err, ErrFencedEpoch) {
		t.Errorf("what an old leader has sent: %v", err)
	}
	if err := all[0].r.AppendFetched(&Fetched{LeaderEpoch: 5}); !errors.Is(err, ErrFencedEpoch) {
		t.Errorf("to a leader: %v", err)
	}
}

// A follower that was cut off has appended records of its own; they go, and nothing that is committed.
func TestFollowerCutsWhatTheLeaderLacks(t *testing.T) {
	all := newMembers(t, 3, durableConfig())
	elect(t, all, three(1, 1))
	start(all[0].r, AcksAll, records(t, 5, "both"))
	catchUp(t, all[1], all[0])
	start(all[0].r, AcksLeader, idempotent(t, 9, 0, 0, 2, "alone"))
	start(all[0].r, AcksLeader, records(t, 2, "alone too"))
	elect(t, all, three(2, 2))
	start(all[1].r, AcksAll, records(t, 1, "other"))
	catchUp(t, all[0], all[1])
	if got, want := logOf(t, all[0], 99), logOf(t, all[1], 99); !bytes.Equal(got, want) {
		t.Errorf("logs differ after truncation: %d and %d bytes", len(got), len(want))
	}
	if p := all[0].r.Producers(); len(p) != 0 {
		t.Errorf("the producer of what was cut is remembered: %v", p)
	}
	if end := all[0].r.log.Next(); end != 6 {
		t.Errorf("log ends at %d", end)
	}
}

// A full disk may keep a leader that follows from forgetting, for now, that it has led without writing anything. It is told again,
// and then takes what was written under older epochs.
func TestFollowerForgetsThatItHasLedOnceThereIsSpace(t *testing.T) {
	var inject faultfs.Injector
	g := newRig(t, faultfs.Wrap(vfs.NewMem(), &inject), func(o *Options) { o.BrokerID = 2 })
	m := &member{rig: g, id: 2, r: g.open(testTP, durableConfig())}
	other := newMembers(t, 1, durableConfig())[0]
	elect(t, []*member{other, m}, three(1, 1))
	start(other.r, AcksLeader, records(t, 1, "first")).wait(t)
	catchUp(t, m, other)
	elect(t, []*member{other}, three(1, 2))
	start(other.r, AcksLeader, records(t, 1, "second")).wait(t)
	if err := m.r.BecomeLeader(three(2, 3)); err != nil {
		t.Fatal(err)
	}
	if err := m.r.Roll(); err != nil { // which notes the epoch
		t.Fatal(err)
	}
	full := inject.Add(faultfs.Rule{Op: faultfs.WriteAt, Glob: "state.tmp", Times: -1, Err: syscall.ENOSPC})
	if err := m.r.BecomeFollower(three(1, 4)); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("follows with %v", err)
	}
	full.Remove()
	elect(t, []*member{other, m}, three(1, 4))
	catchUp(t, m, other)
	if end := m.r.log.Next(); end != 2 {
		t.Errorf("the follower's log ends at %d", end)
	}
}

// Batches may come twice, or answer a question of the past; none is doubled and none is left out.
func TestFetchedBatchesThatDoNotFit(t *testing.T) {
	all := newMembers(t, 3, durableConfig())
	elect(t, all, three(1, 1))
	for range 3 {
		start(all[0].r, AcksLeader, records(t, 2, "v"))
	}
	_, whole := ask(t, all[1], all[0])
	one := len(whole) / 3
	give := func(b []byte) error {
		return all[1].r.AppendFetched(&Fetched{LeaderEpoch: 1, Records: b, HighWatermark: 6})
	}
	if err := give(whole[one:]); !errors.Is(err, ErrGap) {
		t.Errorf("a gap: %v", err)
	}
	for _, b := range [][]byte{whole[:one], whole[:2*one], whole} {
		if err := give(b); err != nil {
			t.Fatal(err)
		}
	}
	if got := logOf(t, all[1], 99); !bytes.Equal(got, whole) {
		t.Error("the log differs from what was sent")
	}
	bad := slices.Clone(whole)
	bad[len(bad)-1] ^= 1
	if err := all[2].r.AppendFetched(&Fetched{LeaderEpoch: 1, Records: bad}); !errors.Is(err, ErrCorruptBatch) {
		t.Errorf("a damaged batch: %v", err)
	}
	if end := all[2].r.log.Next(); end != 0 {
		t.Errorf("part of a damaged answer was appended: the log ends at %d", end)
	}
}

// Small batches may claim more offsets together than one write takes: a follower gets past them all the same.
func TestFetchedBatchesOfVeryManyOffsets(t *testing.T) {
	c := durableConfig()
	c.MaxMessageBytes = math.MaxInt32
	all := newMembers(t, 3, c)
	elect(t, all, three(1, 1))
	for range 10 {
		start(all[0].r, AcksLeader, claiming(t, math.MaxInt32/minRecordBytes))
	}
	catchUp(t, all[1], all[0])
	if got, want := logOf(t, all[1], math.MaxInt64), logOf(t, all[0], math.MaxInt64); !bytes.Equal(got, want) {
		t.Errorf("%d bytes up to %d, the leader has %d up to %d", len(got), all[1].r.log.Next(), len(want), all[0].r.log.Next())
	}
}

// A leader's retention goes on while a follower is away: the follower starts where the leader's log begins by then.
func TestFollowerBelowTheLeadersStart(t *testing.T) {
	c := durableConfig()
	c.Segment.Bytes = 200
	all := newMembers(t, 3, c)
	elect(t, all, three(1, 1))
	start(all[0].r, AcksLeader, records(t, 2, "old"))
	catchUp(t, all[1], all[0])
	for range 5 {
		start(all[0].r, AcksLeader, records(t, 3, strings.Repeat("x", 200)))
	}
	if err := all[0].r.log.SetStart(8); err != nil { // in the middle of a batch
		t.Fatal(err)
	}
	if _, err := all[0].r.log.DropBefore(8, 8); err != nil {
		t.Fatal(err)
	}
	for _, m := range all[1:] {
		catchUp(t, m, all[0])
		if got, want := m.r.Offsets().LogStart, int64(8); got != want {
			t.Errorf("broker %d starts at %d", m.id, got)
		}
		if got, want := logOf(t, m, 99), logOf(t, all[0], 99); !bytes.HasSuffix(want, got) || m.r.log.Next() != all[0].r.log.Next() {
			t.Errorf("broker %d has %d bytes up to %d, the leader %d", m.id, len(got), m.r.log.Next(), len(want))
		}
	}
}

// A replica that has begun where its leader's log began, and has nothing yet, may find that the next leader, elected uncleanly,
// ends before that.
func TestEmptyFollowerBeyondTheLeadersEnd(t *testing.T) {
	c := durableConfig()
	c.Segment.Bytes = 200
	all := newMembers(t, 3, c)
	elect(t, all, three(1, 1))
	start(all[0].r, AcksLeader, records(t, 2, "old"))
	catchUp(t, all[1], all[0])
	for range 5 {
		start(all[0].r, AcksLeader, records(t, 3, strings.Repeat("x", 200)))
	}
	if err := all[0].r.log.SetStart(8); err != nil {
		t.Fatal(err)
	}
	if _, err := all[0].r.log.DropBefore(8, 8); err != nil {
		t.Fatal(err)
	}
	pull(t, all[2], all[0]) // which only tells it where to begin
	if at, _ := all[2].r.Place(); at.Offset != 8 || at.LastEpoch != -1 {
		t.Fatalf("%+v", at)
	}
	unclean := three(2, 2)
	unclean.ISR = []int32{2}
	elect(t, all[1:], unclean)
	catchUp(t, all[2], all[1])
	if got, want := logOf(t, all[2], 99), logOf(t, all[1], 99); !bytes.Equal(got, want) || all[2].r.log.Next() != 2 {
		t.Errorf("%d bytes up to %d, the leader has %d", len(got), all[2].r.log.Next(), len(want))
	}
}

// A log start that an unclean election has taken back, with all that was above it, does not hide what is written there since.
func TestLogStartBeyondTheLeadersEnd(t *testing.T) {
	c := durableConfig()
	c.Segment.Bytes = 200
	all := newMembers(t, 3, c)
	elect(t, all, three(1, 1))
	start(all[0].r, AcksLeader, records(t, 2, "old"))
	catchUp(t, all[1], all[0])
	for range 5 {
		start(all[0].r, AcksLeader, records(t, 3, strings.Repeat("x", 200)))
	}
	catchUp(t, all[2], all[0])
	if err := all[0].r.log.SetStart(8); err != nil {
		t.Fatal(err)
	}
	if _, err := all[0].r.log.DropBefore(8, 8); err != nil {
		t.Fatal(err)
	}
	catchUp(t, all[2], all[0])
	unclean := State{Leader: 2, LeaderEpoch: 2, Rev: 200, Replicas: []int32{2, 3}, ISR: []int32{2}}
	elect(t, all[1:], unclean)
	catchUp(t, all[2], all[1])
	if start, end := all[2].r.Offsets().LogStart, all[2].r.log.Next(); start > end {
		t.Errorf("it ends at %d and begins at %d", end, start)
	}
	unclean.ISR, unclean.Rev = []int32{2, 3}, 201
	elect(t, all[1:], unclean)
	a := start(all[1].r, AcksAll, records(t, 1, "new"))
	catchUp(t, all[2], all[1])
	if a.wait(t); a.Err != nil {
		t.Fatal(a.Err)
	}
	elect(t, all[1:], State{Leader: 3, LeaderEpoch: 3, Rev: 300, Replicas: []int32{2, 3}, ISR: []int32{2, 3}})
	catchUp(t, all[1], all[2])
	if got := values(t, all[2].rig, all[2].r, 2); got[2] != "new" {
		t.Errorf("%v", got)
	}
}

// TestRandomElections lets three replicas elect each other over and over while they are fed, follow by halves, lose power,
// and have leaders that are gone before anyone has followed: what was committed is in the log of every later leader, at
// its place, and in the end all logs are the same.
func TestRandomElections(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 2))
			c := durableConfig()
			c.Segment.Bytes = 300
			all := newMembers(t, 3, c)
			st := three(1, 1)
			elect(t, all, st)
			var acks []*ack
			var committed []byte
			for n := range 60 {
				leader := all[st.Leader-1]
				m := all[rng.IntN(3)]
				switch k := rng.IntN(13); {
				case k < 5:
					acks = append(acks, start(leader.r, AcksAll, idempotent(t, int64(n), 0, 0, 1+rng.IntN(3), name(n))))
				case k < 11 && m != leader:
					if _, follows := m.r.Place(); follows {
						pull(t, m, leader)
					}
				case k == 12 && m != leader: // it is in sync still: what it has reported was on its disk
					m.cutPower(t, rng.Uint64())
					if err := m.r.BecomeFollower(st); err != nil {
						t.Fatal(err)
					}
				case k == 11 || k == 12: // anyone may win, all are in sync
					if k == 12 {
						m.cutPower(t, rng.Uint64())
					}
					st = three(int32(1+rng.IntN(3)), st.LeaderEpoch+1)
					order := slices.Clone(all)
					rng.Shuffle(3, func(i, j int) { order[i], order[j] = order[j], order[i] })
					elect(t, order[:1+rng.IntN(3)], st) // the others have not heard of it yet
					elect(t, order[slices.Index(order, all[st.Leader-1]):][:1], st)
				}
				hw := all[st.Leader-1].r.hw.Load()
				if now := logOf(t, all[st.Leader-1], hw); bytes.HasPrefix(now, committed) {
					committed = now
				} else if !bytes.HasPrefix(committed, now) {
					t.Fatalf("seed %d: what leader %d holds below its high watermark %d is not what was committed", seed, st.Leader, hw)
				}
			}
			st = three(st.Leader, st.LeaderEpoch+1)
			elect(t, all, st)
			leader := all[st.Leader-1]
			for range 2 {
				for _, m := range all {
					if m != leader {
						catchUp(t, m, leader)
					}
				}
			}
			end := leader.r.log.Next()
			t.Logf("%d records, %d bytes committed on the way, leader epoch %d", end, len(committed), st.LeaderEpoch)
			whole := logOf(t, leader, end)
			if !bytes.HasPrefix(whole, committed) {
				t.Fatalf("seed %d: committed records are gone", seed)
			}
			for _, m := range all {
				if got := logOf(t, m, 1<<40); !bytes.Equal(got, whole) {
					t.Errorf("seed %d: broker %d has %d bytes, the leader %d", seed, m.id, len(got), len(whole))
				}
				if !slices.EqualFunc(m.r.Producers(), leader.r.Producers(), func(a, b Producer) bool { return a == b }) {
					t.Errorf("seed %d: broker %d knows %v, the leader %v", seed, m.id, m.r.Producers(), leader.r.Producers())
				}
			}
			for _, a := range acks {
				if a.wait(t); a.Err == nil && a.BaseOffset >= end {
					t.Errorf("seed %d: acknowledged at %d, the log ends at %d", seed, a.BaseOffset, end)
				}
			}
		})
	}
}

func TestCensusOfWhatIsLed(t *testing.T) {
	c := durableConfig()
	c.MinInsync = 3
	reg := prometheus.NewRegistry()
	all := newMembers(t, 3, c, func(o *Options) {
		if o.BrokerID == 1 {
			o.Registerer = reg
		}
	})
	st := three(1, 1)
	st.ISR = []int32{1, 2}
	elect(t, all, st)
	start(all[0].r, AcksLeader, records(t, 5, "v"))
	ask(t, all[1], all[0])
	want := map[string]float64{
		"firn_partition_leaders": 1, "firn_partition_under_replicated": 1, "firn_partition_under_min_insync": 1, "firn_partition_follower_lag_records": 5,
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if v, ok := want[f.GetName()]; ok && f.GetMetric()[0].GetGauge().GetValue() == v {
			delete(want, f.GetName())
		}
	}
	if len(want) > 0 {
		t.Errorf("not so: %v", want)
	}
}

// A partition that is being reassigned has all the replicas that it should have while the added ones are being copied.
func TestReassignedPartitionsAreNotUnderReplicated(t *testing.T) {
	reg := prometheus.NewRegistry()
	r := newRig(t, vfs.NewMem(), func(o *Options) { o.Registerer = reg }).open(testTP, durableConfig())
	for i, c := range []struct {
		replicas, isr, moving []int32
		want                  float64
	}{
		{[]int32{3, 1, 2}, []int32{1, 2}, []int32{3, 2}, 0},
		{[]int32{3, 1, 2}, []int32{1, 3}, []int32{3, 2}, 0},
		{[]int32{3, 1, 2}, []int32{1, 3}, []int32{3}, 1},
		{[]int32{1, 2}, []int32{1, 2}, nil, 0},
	} {
		st := State{Leader: 1, LeaderEpoch: 1, Rev: int64(i) + 1, Replicas: c.replicas, ISR: c.isr, Moving: c.moving}
		if err := r.BecomeLeader(st); err != nil {
			t.Fatal(err)
		}
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if v := f.GetMetric()[0].GetGauge().GetValue(); f.GetName() == "firn_partition_under_replicated" && v != c.want {
				t.Errorf("%+v: %v", c, v)
			}
		}
	}
}

// A new replica, and one whose leader has dropped what it lacks, begin at the tier's end, with the epochs and producers of
// what lies below; then they copy what is not archived and could lead.
func TestFollowerBeginsAtTheTiersEnd(t *testing.T) {
	for _, had := range []bool{false, true} {
		w := newTieredRig(t)
		c := tieredConfig()
		c.Segment.Bytes = 1 << 10
		leader := &member{rig: w.rig, id: 1, r: w.open(testTP, c)}
		other := newTieredRigOn(t, w.bucket, w.anchor)
		other.set.opts.BrokerID = 2
		m := &member{rig: other.rig, id: 2, r: other.open(testTP, c)}
		st := State{Leader: 1, LeaderEpoch: 3, Replicas: []int32{1, 2}, ISR: []int32{1}}
		elect(t, []*member{leader, m}, st)
		if had {
			start(leader.r, AcksLeader, records(t, 1, "had"))
			if pull(t, m, leader); m.r.log.Next() != 1 {
				t.Fatal("nothing was fetched")
			}
		}
		for i := range 20 {
			if a := start(leader.r, AcksLeader, idempotent(t, 7, 0, int32(i), 1, name2(i))).wait(t); a.Err != nil {
				t.Fatal(a.Err)
			}
		}
		// A follower that has caught up once counts for a while; this one is gone for longer.
		leader.r.waiters.Lock()
		leader.r.role.Load().quorum.followers[0].caughtUp = time.Time{}
		leader.r.waiters.Unlock()
		var done doneList
		leader.r.advance(&done)
		w.archive(leader.r)
		dropLocal(t, leader.r)
		m.r.SetTierHead(leader.r.head.Load())
		tierEnd := leader.r.Offsets().TierEnd

		if at, ok := m.r.Place(); !ok || at.Anew == had {
			t.Fatalf("%+v", at)
		}
		if had {
			if p, _ := ask(t, m, leader); !errors.Is(p.Err, ErrOffsetTiered) {
				t.Fatalf("%+v", p)
			}
		}
		if err := m.r.StartAnew(2, 0); !errors.Is(err, ErrFencedEpoch) {
			t.Errorf("for a leader of the past: %v", err)
		}
		if err := m.r.StartAnew(3, 0); err != nil {
			t.Fatal(err)
		}
		at, _ := m.r.Place()
		if at.Offset != tierEnd || at.LastEpoch != 3 || at.Anew || !at.Durable {
			t.Fatalf("%+v, the tier ends at %d", at, tierEnd)
		}
		start(leader.r, AcksLeader, idempotent(t, 7, 0, 20, 1, "tail"))
		catchUp(t, m, leader)
		st.Leader, st.LeaderEpoch, st.ISR = 2, 4, []int32{2}
		elect(t, []*member{leader, m}, st)
		if base := appendOK(t, m.r, idempotent(t, 7, 0, 19, 1, name2(19))); base != tierEnd-1 {
			t.Errorf("a retry of what is in the tier was appended at %d", base)
		}
		if base := appendOK(t, m.r, idempotent(t, 7, 0, 20, 1, "tail")); base != tierEnd {
			t.Errorf("a retry was appended at %d", base)
		}
		if base := appendOK(t, m.r, idempotent(t, 7, 0, 21, 1, "next")); base != tierEnd+1 {
			t.Errorf("appended at %d", base)
		}
	}
}

// A follower whose disk is full hears all the same where the leader's log begins: only what it lets go then makes room for more.
func TestFollowerOnAFullDiskLetsGoWhatItsLeaderHas(t *testing.T) {
	c := durableConfig()
	c.Segment.Bytes, c.Retention.Bytes = 512<<10, 1<<20
	all := newMembers(t, 2, c)
	leader, m := all[0], all[1]
	elect(t, all, State{Leader: 1, LeaderEpoch: 1, Rev: 100, Replicas: []int32{1, 2}, ISR: []int32{1, 2}})
	more := func() { start(leader.r, AcksLeader, aged(t, time.Now().UnixMilli(), 100<<10)).wait(t) }
	for range 40 {
		more()
		catchUp(t, m, leader)
	}
	u, err := m.mem.Usage("/data")
	if err != nil {
		t.Fatal(err)
	}
	m.mem.SetCapacity(u.Total - u.Free + 32<<10) // less than 2 % are free
	_, _ = m.r.Disk().Usage()                    // as Run does
	leader.r.maintain(time.Now())
	want := leader.r.Offsets().LogStart
	more()
	at, _ := m.r.Place()
	p, records := ask(t, m, leader)
	f := &Fetched{LeaderEpoch: at.Epoch, Records: records, HighWatermark: p.HighWatermark, LogStart: p.LogStart}
	if err := m.r.AppendFetched(f); !errors.Is(err, ErrDiskFull) || want == 0 {
		t.Fatalf("leader at %d: %v", want, err)
	}
	m.r.maintain(time.Now())
	if o := m.r.Offsets(); o.LocalStart != want {
		t.Errorf("its log begins at %d, the leader's at %d", o.LocalStart, want)
	}
	_, _ = m.r.Disk().Usage() // as Run does
	if catchUp(t, m, leader); m.r.Offsets().LogEnd != 41 {
		t.Errorf("%+v", m.r.Offsets())
	}
}
