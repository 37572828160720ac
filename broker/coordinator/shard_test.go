package coordinator

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"firn/metadata"
	"firn/metadata/memkv"
)

func TestAnswersWaitForTheirWrites(t *testing.T) {
	nodes(t, 1, func(t *testing.T, ns []*node) {
		n := ns[0]
		n.own(0)
		n.kv.SetFaults(writes(memkv.Fault{Delay: 100 * time.Millisecond}))
		start := time.Now()
		set, read := n.set(0, "x", "1"), n.get(0, "x")
		beat := n.beat(0)
		if o := <-beat; o.at.Sub(start) != 0 {
			t.Errorf("a command in memory was answered after %v", o.at.Sub(start))
		}
		for what, got := range map[string]chan outcome{"write": set, "read behind it": read} {
			if o := <-got; o.err != nil || o.value != "1" || o.at.Sub(start) < 100*time.Millisecond {
				t.Errorf("%s: %q, %v after %v", what, o.value, o.err, o.at.Sub(start))
			}
		}
		if got := n.stored(0, "x"); got != "1" {
			t.Errorf("stored %q", got)
		}
		start = time.Now()
		if o := <-n.get(0, "x"); o.at != start {
			t.Error("a read with nothing before it had to wait")
		}
	})
}

func TestUnknownOutcomeIsLoadedAgain(t *testing.T) {
	for name, fault := range map[string]memkv.Fault{
		"lost request": {LoseRequest: true}, "lost reply": {LoseReply: true}, "refused": {Refuse: true},
		"late": {Late: 10 * time.Second}, "too slow": {Delay: 10 * time.Second}, "reply too slow": {ReplyDelay: 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			nodes(t, 1, func(t *testing.T, ns []*node) {
				n := ns[0]
				n.own(0)
				n.want("first", n.set(0, "x", "old"), "old", nil)
				n.kv.SetFaults(writes(fault))
				parked := n.park(0)
				set := n.set(0, "x", "new")
				read := n.get(0, "x")
				n.want("parked", parked, "", ErrUnavailable)
				n.want("write", set, "", ErrUnavailable)
				n.want("read behind it", read, "", ErrUnavailable)
				n.want("in memory", n.beat(0), "beat", nil)
				n.kv.SetFaults(nil)
				time.Sleep(15 * time.Second) // what is under way still suffers
				o := <-n.get(0, "x")
				if stored := n.stored(0, "x"); o.err != nil || o.value != stored {
					t.Errorf("read %q, %v; stored %q", o.value, o.err, stored)
				}
				n.want("write after it", n.set(0, "x", "newest"), "newest", nil)
				time.Sleep(time.Minute)
				if got := n.stored(0, "x"); got != "newest" {
					t.Errorf("stored %q: an old write came after a new one", got)
				}
			})
		})
	}
}

func TestNothingButMemoryIsAnsweredInDoubt(t *testing.T) {
	nodes(t, 1, func(t *testing.T, ns []*node) {
		n := ns[0]
		n.own(0)
		n.want("first", n.set(0, "x", "1"), "1", nil)
		n.kv.Cut(true)
		n.want("write", n.set(0, "x", "2"), "", ErrUnavailable)
		for range 10 {
			n.want("read", n.get(0, "x"), "", ErrLoading)
			n.want("write", n.set(0, "x", "3"), "", ErrLoading)
			n.want("park", n.park(0), "", ErrLoading)
			n.want("in memory", n.beat(0), "beat", nil)
			time.Sleep(30 * time.Second)
		}
		n.kv.Cut(false)
		time.Sleep(5 * time.Second)
		n.want("read after it healed", n.get(0, "x"), "1", nil)
		n.want("write after it healed", n.set(0, "x", "4"), "4", nil)
	})
}

func TestDeposedOwnerAnswersNothing(t *testing.T) {
	nodes(t, 2, func(t *testing.T, ns []*node) {
		a, b := ns[0], ns[1]
		mine := a.own(0)
		a.want("first", a.set(0, "x", "900"), "900", nil)
		a.kv.SetFaults(writes(memkv.Fault{Late: 10 * time.Second}))
		lost := a.set(0, "x", "500")
		synctest.Wait()
		time.Sleep(10 * time.Millisecond)
		b.own(0)
		b.want("what it took over", b.get(0, "x"), "900", nil)
		b.want("write of the new owner", b.set(0, "x", "901"), "901", nil)
		a.want("write in flight", lost, "", ErrUnavailable)
		a.kv.SetFaults(nil)
		time.Sleep(time.Minute)
		for range 2 { // the image has not told it yet
			a.want("read", a.get(0, "x"), "", ErrNotCoordinator)
			a.want("write", a.set(0, "x", "501"), "", ErrNotCoordinator)
			a.want("in memory", a.beat(0), "", ErrNotCoordinator)
			time.Sleep(time.Minute)
		}
		a.r.Own(0, a.record(1, 2), brokerEpoch) // a record that names another
		a.want("read", a.get(0, "x"), "", ErrNotCoordinator)
		a.r.Own(0, mine, brokerEpoch+1) // or this broker's earlier life
		a.want("read", a.get(0, "x"), "", ErrNotCoordinator)
		if len(a.r.Owned()) != 0 {
			t.Errorf("owned: %v", a.r.Owned())
		}
		b.want("read", b.get(0, "x"), "901", nil)
	})
}

// A write that was fenced tells the owner so at once.
func TestFencedWrite(t *testing.T) {
	nodes(t, 1, func(t *testing.T, ns []*node) {
		n := ns[0]
		n.own(0)
		parked := n.park(0)
		n.record(0, 2)
		n.want("write", n.set(0, "x", "1"), "", ErrNotCoordinator)
		n.want("parked", parked, "", ErrNotCoordinator)
		n.want("in memory", n.beat(0), "", ErrNotCoordinator)
		if got := n.stored(0, "x"); got != "" {
			t.Errorf("stored %q", got)
		}
		n.own(0)
		n.want("after it came back", n.set(0, "x", "2"), "2", nil)
	})
}

// Without a lease somebody else may have written meanwhile: memory alone is not believed, the store is.
func TestLooksNeedALease(t *testing.T) {
	nodes(t, 1, func(t *testing.T, ns []*node) {
		n := ns[0]
		n.own(0)
		n.want("write", n.set(0, "x", "1"), "1", nil)
		n.down.Store(true)
		n.want("read without a lease", n.get(0, "x"), "", ErrUnavailable)
		n.want("in memory", n.beat(0), "beat", nil)
		set, read := n.set(0, "x", "2"), n.get(0, "x")
		n.want("write", set, "2", nil)
		n.want("read behind it", read, "2", nil)
		n.down.Store(false)
		n.epoch.Store(brokerEpoch + 1)
		n.want("read under another registration", n.get(0, "x"), "", ErrUnavailable)
		n.epoch.Store(brokerEpoch)
		n.want("read", n.get(0, "x"), "2", nil)
	})
}

// A look that came while a write was under way, which may have been committed long before, rests on memory like others: frozen in
// between, a broker would tell what the next owner has written over.
func TestLooksBehindAWriteNeedALease(t *testing.T) {
	nodes(t, 2, func(t *testing.T, ns []*node) {
		a, b := ns[0], ns[1]
		a.own(0)
		a.kv.SetFaults(writes(memkv.Fault{ReplyDelay: 500 * time.Millisecond}))
		set := a.set(0, "x", "900")
		time.Sleep(100 * time.Millisecond)
		if got := a.stored(0, "x"); got != "900" {
			t.Fatalf("stored %q", got)
		}
		a.kv.SetFaults(nil)
		a.down.Store(true)
		b.own(0)
		b.want("write of the new owner", b.set(0, "x", "901"), "901", nil)
		read := a.get(0, "x")
		a.want("write", set, "900", nil)
		a.want("read behind it", read, "", ErrNotCoordinator)
	})
}

func TestOwnedAgainByANewRecord(t *testing.T) {
	nodes(t, 1, func(t *testing.T, ns []*node) {
		n := ns[0]
		first := n.own(0)
		n.want("write", n.set(0, "x", "1"), "1", nil)
		parked := n.park(0)
		n.r.Own(0, first, brokerEpoch) // nothing new
		synctest.Wait()
		select {
		case o := <-parked:
			t.Fatalf("parked was answered %v by a record that says nothing new", o.err)
		default:
		}
		n.kv.SetFaults(writes(memkv.Fault{Delay: 50 * time.Millisecond}))
		flying := n.set(0, "x", "2")
		time.Sleep(20 * time.Millisecond)
		second := n.record(0, n.id)
		n.r.Own(0, second, brokerEpoch)
		queued := n.get(0, "x") // finds the new loop before it has loaded
		n.want("parked", parked, "", ErrNotCoordinator)
		n.want("in flight", flying, "", ErrNotCoordinator)
		<-queued
		time.Sleep(time.Second)
		o := <-n.get(0, "x")
		if stored := n.stored(0, "x"); o.err != nil || o.value != stored {
			t.Errorf("read %q, %v; stored %q", o.value, o.err, stored)
		}
		for range 20 { // given up and taken back at once, again and again
			n.r.Own(0, metadata.ShardOwner{Broker: -1}, brokerEpoch)
			n.r.Own(0, second, brokerEpoch)
		}
		time.Sleep(time.Second)
		n.want("after all that", n.set(0, "x", "3"), "3", nil)
	})
}

func TestQueueIsBounded(t *testing.T) {
	nodes(t, 1, func(t *testing.T, ns []*node) {
		n := ns[0]
		n.own(0)
		hold, held := make(chan struct{}), make(chan struct{})
		n.r.Do(0, func(*registers, time.Time) Result { close(held); <-hold; return Result{} }, nil)
		<-held
		var waiting []chan outcome
		for range maxWaiting {
			waiting = append(waiting, n.get(0, "x"))
		}
		n.want("one more", n.get(0, "x"), "", ErrBusy)
		close(hold)
		for _, got := range waiting {
			n.want("one that fit", got, "", nil)
		}
		// Those who wait for a slow write are bounded, too, but not heartbeats.
		n.kv.SetFaults(writes(memkv.Fault{Delay: 500 * time.Millisecond}))
		waiting = []chan outcome{n.set(0, "x", "1")}
		synctest.Wait()
		for range maxWaiting {
			waiting = append(waiting, n.get(0, "x"))
			synctest.Wait()
		}
		n.want("one more", n.get(0, "x"), "", ErrBusy)
		n.want("in memory", n.beat(0), "beat", nil)
		for _, got := range waiting {
			n.want("one that fit", got, "1", nil)
		}
	})
}

func TestCloseLetsEveryoneGo(t *testing.T) {
	nodes(t, 1, func(t *testing.T, ns []*node) {
		n := ns[0]
		n.own(0)
		n.own(1)
		parked := n.park(0)
		n.kv.SetFaults(writes(memkv.Fault{Delay: 500 * time.Millisecond}))
		flying, behind := n.set(0, "x", "1"), n.get(0, "x")
		synctest.Wait()
		n.kv.SetFaults(func(memkv.Call) memkv.Fault { return memkv.Fault{Delay: time.Hour} })
		n.r.Own(2, n.record(2, n.id), brokerEpoch)
		loading := n.get(2, "x")
		start := time.Now()
		n.r.Close()
		if took := time.Since(start); took != 0 {
			t.Errorf("closing took %v", took)
		}
		n.want("parked", parked, "", ErrNotCoordinator)
		n.want("in flight", flying, "", ErrNotCoordinator)
		n.want("behind it", behind, "", ErrNotCoordinator)
		if o := <-loading; o.err == nil {
			t.Errorf("answered %q of a shard never loaded", o.value)
		}
		n.want("after closing", n.get(0, "x"), "", ErrNotCoordinator)
		n.r.Own(0, n.record(0, n.id), brokerEpoch)
		n.want("after closing", n.get(0, "x"), "", ErrNotCoordinator)
	})
}

func TestTickComesAtTheDeadlineAndNotInDoubt(t *testing.T) {
	nodes(t, 1, func(t *testing.T, ns []*node) {
		n := ns[0]
		n.own(0)
		due := func(d time.Duration) {
			n.r.DoInMemory(0, func(m *registers, now time.Time) Result { m.due = now.Add(d); return Result{} }, nil)
		}
		start := time.Now()
		due(time.Hour)
		due(time.Minute)
		if at := <-n.ticks; at.Sub(start) != time.Minute {
			t.Errorf("ticked after %v", at.Sub(start))
		}
		due(time.Second)
		n.kv.Cut(true)
		n.want("write", n.set(0, "x", "2"), "", ErrUnavailable)
		time.Sleep(time.Minute)
		n.kv.Cut(false)
		time.Sleep(time.Minute)
		select {
		case at := <-n.ticks:
			t.Errorf("a state given up ticked after %v", at.Sub(start))
		default:
		}
	})
}

// A broker whose lease is over may have been asleep, and who it has not heard of may be well with the next owner: nothing
// expires there. Where the lease stands again, it does.
func TestNothingExpiresWithoutALease(t *testing.T) {
	nodes(t, 1, func(t *testing.T, ns []*node) {
		n := ns[0]
		n.own(0)
		n.r.DoInMemory(0, func(m *registers, now time.Time) Result { m.due = now.Add(time.Second); return Result{} }, nil)
		n.down.Store(true)
		time.Sleep(time.Minute)
		n.want("in memory", n.beat(0), "beat", nil)
		select {
		case <-n.ticks:
			t.Error("it ticked without a lease")
		default:
		}
		n.down.Store(false)
		again := time.Now()
		if at := <-n.ticks; at.Sub(again) > 2*n.r.opts.RetryMin {
			t.Errorf("it ticked %v after the lease stood again", at.Sub(again))
		}
	})
}

func TestShardThatCannotBeReadIsTriedAgain(t *testing.T) {
	nodes(t, 1, func(t *testing.T, ns []*node) {
		n := ns[0]
		n.own(0)
		n.want("write", n.set(0, "rotten", "1"), "1", nil)
		n.r.Own(0, n.record(0, n.id), brokerEpoch)
		time.Sleep(10 * time.Second)
		n.want("read", n.get(0, "x"), "", ErrLoading)
		n.want("in memory", n.beat(0), "", ErrLoading)
		n.own(1)
		n.want("another shard", n.set(1, "x", "1"), "1", nil)
	})
}

func TestTooLargeHurtsOnlyWhoAsked(t *testing.T) {
	nodes(t, 1, func(t *testing.T, ns []*node) {
		n := ns[0]
		n.own(0)
		n.want("too large", n.set(0, "x", string(make([]byte, metadata.MaxTxnBytes))), "", ErrTooLarge)
		time.Sleep(time.Second)
		n.want("read", n.get(0, "x"), "", nil)
		n.want("large", n.set(0, "x", string(make([]byte, metadata.MaxTxnBytes-1000))), string(make([]byte, metadata.MaxTxnBytes-1000)), nil)
	})
}

func TestPieces(t *testing.T) {
	put := func(keys ...int) Result {
		var res Result
		for _, k := range keys {
			res.Edits = append(res.Edits, metadata.Edit{Key: strconv.Itoa(k), Value: []byte("v")})
		}
		return res
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var results []Result
		next := 0
		newest := map[string]int{} // key -> the last result that writes it
		for i := range rng.IntN(30) {
			var keys []int
			for range rng.IntN(150) {
				keys = append(keys, next%300)
				newest[strconv.Itoa(next%300)] = i
				next++
			}
			results = append(results, put(keys...))
		}
		seen, last := map[string]bool{}, 0
		for _, p := range pieces(results) {
			if len(p) == 0 || len(p) > maxEdits {
				t.Fatalf("a piece of %d edits", len(p))
			}
			for _, e := range p {
				if seen[e.Key] || newest[e.Key] < last {
					t.Fatalf("key %s twice or out of order", e.Key)
				}
				seen[e.Key], last = true, newest[e.Key]
			}
		}
		if len(seen) != len(newest) {
			t.Fatalf("%d of %d keys", len(seen), len(newest))
		}
	}
	if got := pieces([]Result{put(1, 2, 3), {}, put(4)}); len(got) != 1 || len(got[0]) != 4 {
		t.Errorf("small results: %v", got)
	}
	many := make([]int, 60)
	for i := range many {
		many[i] = i
	}
	if got := pieces([]Result{put(100, 101), put(many...), put(many[:50]...)}); len(got) != 1 || len(got[0]) != 62 {
		t.Errorf("results over each other: %d pieces", len(got))
	}
	other := make([]int, 60)
	for i := range other {
		other[i] = 200 + i
	}
	if got := pieces([]Result{put(many...), put(other...)}); len(got) != 2 || len(got[0]) != 60 {
		t.Errorf("a result was cut though it fits a piece")
	}
	big := metadata.Edit{Key: "big", Value: make([]byte, maxPiece)}
	if got := pieces([]Result{put(1), {Edits: []metadata.Edit{big}}, put(2)}); len(got) != 3 {
		t.Errorf("%d pieces around a big value, want 3", len(got))
	}
	if got := pieces([]Result{{}, {}}); got != nil {
		t.Errorf("nothing to write: %v", got)
	}
}

// TestOwnersFlap lets two brokers count in turns, over connections that lose, delay and repeat: no count that
// was acknowledged may come twice or be lost.
func TestOwnersFlap(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	nodes(t, 2, func(t *testing.T, ns []*node) {
		rng, faulty := rand.New(rand.NewPCG(seed, 0)), rand.New(rand.NewPCG(seed, 1))
		var faults sync.Mutex
		for _, n := range ns {
			n.kv.SetFaults(func(c memkv.Call) memkv.Fault {
				faults.Lock()
				defer faults.Unlock()
				f := memkv.Fault{Delay: time.Duration(faulty.Int64N(int64(3 * time.Millisecond)))}
				switch k := faulty.IntN(16); {
				case k == 0:
					f.Refuse = true
				case k == 1:
					f.LoseRequest = true
				case k == 2 && c.Write:
					f.LoseReply = true
				case k == 3 && c.Write:
					f.Late = time.Duration(faulty.Int64N(int64(300 * time.Millisecond)))
				}
				return f
			})
		}
		var mu sync.Mutex
		acked, highest := map[int]bool{}, 0
		stop := make(chan struct{})
		var clients sync.WaitGroup
		for i := range 6 {
			clients.Go(func() {
				for {
					select {
					case <-stop:
						return
					case <-time.After(time.Duration(i+1) * time.Millisecond):
					}
					o := <-ns[i%2].start(0, false, count)
					if o.err != nil {
						continue
					}
					c, _ := strconv.Atoi(o.value)
					mu.Lock()
					if acked[c] {
						t.Errorf("%d was acknowledged twice", c)
					}
					acked[c], highest = true, max(highest, c)
					mu.Unlock()
				}
			})
		}
		for range 60 {
			owner := ns[rng.IntN(2)]
			o := owner.record(0, owner.id)
			for _, n := range ns {
				if rng.IntN(4) > 0 { // not everyone hears of it in time
					n.r.Own(0, o, brokerEpoch)
				}
			}
			time.Sleep(time.Duration(rng.Int64N(int64(300 * time.Millisecond))))
		}
		close(stop)
		clients.Wait()
		for _, n := range ns {
			n.kv.SetFaults(nil)
		}
		time.Sleep(time.Second)
		end, _ := strconv.Atoi(ns[0].stored(0, "n"))
		if len(acked) < 50 || end < highest {
			t.Errorf("stored %d, %d acknowledged, up to %d", end, len(acked), highest)
		}
		t.Logf("%d of %d counts acknowledged", len(acked), end)
	})
}

func count(m *registers, done func(string, error)) Result {
	c, _ := strconv.Atoi(m.values["n"])
	v := fmt.Sprint(c + 1)
	m.values["n"] = v
	return Result{Edits: []metadata.Edit{{Key: "n", Value: []byte(v)}}, Replies: []Reply{func(err error) { done(v, err) }}}
}

func TestShardOfIsStable(t *testing.T) {
	if a, b := ShardOf("orders", 256), ShardOf("", 256); a != 236 || b != 197 {
		t.Errorf("shards %d and %d: groups would be looked for where they are not", a, b)
	}
}
