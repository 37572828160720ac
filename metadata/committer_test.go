package metadata_test

import (
	"errors"
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

// shardRig is a store with a committer, whose ownership records a test writes itself.
type shardRig struct {
	t     *testing.T
	kv    *memkv.Client
	store *metadata.Store
	c     *metadata.Committer
}

func newShardRig(t *testing.T, server *memkv.Server) *shardRig {
	r := &shardRig{t: t, kv: server.Dial()}
	var err error
	if r.store, err = metadata.Open(t.Context(), r.kv, metadata.Options{}); err != nil {
		t.Fatal(err)
	}
	r.c = r.store.NewCommitter(metadata.CommitterOptions{})
	return r
}

func (r *shardRig) close() {
	_ = r.c.Close()
	_ = r.store.Close()
	_ = r.kv.Close()
}

// own makes a broker the owner of a group shard.
func (r *shardRig) own(shard, broker, epoch int32) metadata.ShardOwner {
	r.t.Helper()
	kv := r.kv.Server().Dial()
	defer kv.Close()
	o := metadata.ShardOwner{Broker: broker, Epoch: epoch}
	o.Rev = mustTxn(r.t, kv, metadata.Txn{Then: []metadata.Op{r.store.Keys().PutShardOwner(metadata.GroupShard, shard, &o)}})
	return o
}

func (r *shardRig) open(shard int32, own metadata.ShardOwner) (*metadata.Shard, map[string]string) {
	r.t.Helper()
	sh, entries, err := r.c.Open(r.t.Context(), metadata.GroupShard, shard, own)
	if err != nil {
		r.t.Fatal(err)
	}
	state := make(map[string]string)
	for _, e := range entries {
		state[e.Key] = string(e.Value)
	}
	return sh, state
}

func set(key, value string) []metadata.Edit {
	return []metadata.Edit{{Key: key, Value: []byte(value)}}
}

// commit waits for a commit's outcome.
func commit(sh *metadata.Shard, edits []metadata.Edit) error {
	done := make(chan error, 1)
	sh.Commit(edits, func(err error) { done <- err })
	return <-done
}

func TestCommitAndLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newShardRig(t, memkv.NewServer())
		defer r.close()
		own := r.own(3, 1, 1)
		sh, state := r.open(3, own)
		if len(state) != 0 {
			t.Errorf("new shard holds %v", state)
		}
		group := metadata.ShardKey("a/group", "h")
		if err := commit(sh, append(set(group, "1"), set("gone", "x")...)); err != nil {
			t.Fatal(err)
		}
		if err := commit(sh, []metadata.Edit{{Key: "gone", Delete: true}}); err != nil {
			t.Fatal(err)
		}
		if err := commit(sh, nil); err != nil {
			t.Errorf("nothing to write: %v", err)
		}
		other, _ := r.open(30, r.own(30, 1, 1)) // a shard whose number begins with the same digit
		if err := commit(other, set("k", "v")); err != nil {
			t.Fatal(err)
		}
		if _, state = r.open(3, own); len(state) != 1 || state[group] != "1" {
			t.Errorf("loaded %v", state)
		}
		if err := commit(sh, set("k", "v")); !errors.Is(err, metadata.ErrClosed) {
			t.Errorf("a shard opened again elsewhere: %v", err)
		}
	})
}

func TestLargeShardIsLoadedWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newShardRig(t, memkv.NewServer())
		defer r.close()
		own := r.own(0, 1, 1)
		sh, _ := r.open(0, own)
		var wg sync.WaitGroup
		for i := range 50 {
			var edits []metadata.Edit
			for j := range 100 {
				edits = append(edits, set(fmt.Sprint(i*100+j), "v")...)
			}
			wg.Add(1)
			sh.Commit(edits, func(err error) {
				if err != nil {
					t.Error(err)
				}
				wg.Done()
			})
		}
		wg.Wait()
		if _, state := r.open(0, own); len(state) != 5000 {
			t.Errorf("loaded %d keys", len(state))
		}
	})
}

func TestCommitsShareTransactions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newShardRig(t, memkv.NewServer())
		defer r.close()
		shards := make([]*metadata.Shard, 10)
		for i := range shards {
			shards[i], _ = r.open(int32(i), r.own(int32(i), 1, 1))
		}
		var mu sync.Mutex
		var writes []int
		r.kv.SetFaults(func(c memkv.Call) memkv.Fault {
			mu.Lock()
			defer mu.Unlock()
			if c.Write {
				writes = append(writes, len(c.Keys))
			}
			return memkv.Fault{}
		})
		start := time.Now()
		var wg sync.WaitGroup
		for i := range 200 {
			wg.Add(1)
			// Two keys a shard, written ten times each: the newest value wins.
			shards[i%10].Commit(set(strconv.Itoa(i/10%2), strconv.Itoa(i)), func(err error) {
				if err != nil {
					t.Error(err)
				}
				wg.Done()
			})
		}
		wg.Wait()
		if took := time.Since(start); took != 5*time.Millisecond {
			t.Errorf("took %v, want the linger", took)
		}
		if len(writes) != 1 || writes[0] != 20 {
			t.Errorf("transactions of %v writes, want one of 20", writes)
		}
		for i := range shards {
			_, state := r.open(int32(i), metadata.ShardOwner{Broker: 1, Epoch: 1, Rev: ownRev(r, int32(i))})
			if state["0"] != strconv.Itoa(180+i) || state["1"] != strconv.Itoa(190+i) {
				t.Errorf("shard %d holds %v", i, state)
			}
		}
	})
}

func ownRev(r *shardRig, shard int32) int64 {
	synctest.Wait()
	return r.store.Image().ShardOwner(metadata.GroupShard, shard).Rev
}

func TestBatchLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newShardRig(t, memkv.NewServer())
		defer r.close()
		sh, _ := r.open(0, r.own(0, 1, 1))
		var mu sync.Mutex
		most, inFlight, mostInFlight := 0, 0, 0
		r.kv.SetFaults(func(c memkv.Call) memkv.Fault {
			mu.Lock()
			defer mu.Unlock()
			most = max(most, len(c.Keys))
			inFlight++
			mostInFlight = max(mostInFlight, inFlight)
			time.AfterFunc(19*time.Millisecond, func() {
				mu.Lock()
				defer mu.Unlock()
				inFlight--
			})
			return memkv.Fault{Delay: 20 * time.Millisecond}
		})
		var wg sync.WaitGroup
		put := func(sh *metadata.Shard, edits []metadata.Edit, want error) {
			wg.Add(1)
			sh.Commit(edits, func(err error) {
				if !errors.Is(err, want) {
					t.Errorf("commit: %v, want %v", err, want)
				}
				wg.Done()
			})
		}
		for i := range 1000 {
			put(sh, set(strconv.Itoa(i), "v"), nil)
		}
		wg.Wait()
		if most != 100 {
			t.Errorf("batches of up to %d writes, want 100", most)
		}
		shards := []*metadata.Shard{sh}
		for i := range int32(9) {
			s, _ := r.open(i+1, r.own(i+1, 1, 1))
			shards = append(shards, s)
		}
		for i := range 2000 {
			put(shards[i%10], set(strconv.Itoa(i), "v"), nil)
		}
		wg.Wait()
		if mostInFlight != 2 {
			t.Errorf("%d transactions in flight, want 2", mostInFlight)
		}
		// One commit may be larger than a shared batch, up to its own limit.
		large := make([]metadata.Edit, metadata.MaxCommitOps)
		for i := range large {
			large[i] = metadata.Edit{Key: strconv.Itoa(i), Value: []byte("v")}
		}
		put(sh, large, nil)
		put(sh, append(large, metadata.Edit{Key: "x"}), metadata.ErrTooLarge)
		put(sh, set("big", string(make([]byte, metadata.MaxTxnBytes))), metadata.ErrTooLarge)
		put(sh, set("half", string(make([]byte, metadata.MaxTxnBytes/2))), nil)
		put(sh, set("other half", string(make([]byte, metadata.MaxTxnBytes*2/3))), nil)
		wg.Wait()
	})
}

func TestOneFencedShardHurtsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newShardRig(t, memkv.NewServer())
		defer r.close()
		lostOwn := r.own(0, 1, 1)
		lost, _ := r.open(0, lostOwn)
		keptOwn := r.own(1, 1, 1)
		kept, _ := r.open(1, keptOwn)
		r.own(0, 2, 2)
		results := make(chan error, 3)
		lost.Commit(set("k", "zombie"), func(err error) { results <- err })
		kept.Commit(set("k", "fine"), func(err error) {
			if err != nil {
				t.Errorf("the other shard: %v", err)
			}
			results <- metadata.ErrFenced
		})
		for range 2 {
			if err := <-results; !errors.Is(err, metadata.ErrFenced) {
				t.Errorf("fenced shard: %v", err)
			}
		}
		if err := commit(lost, set("k", "again")); !errors.Is(err, metadata.ErrFenced) {
			t.Errorf("later: %v", err)
		}
		if _, _, err := r.c.Open(t.Context(), metadata.GroupShard, 0, lostOwn); !errors.Is(err, metadata.ErrFenced) {
			t.Errorf("open with an old record: %v", err)
		}
		if err := commit(kept, []metadata.Edit{{Value: []byte("v")}}); !errors.Is(err, metadata.ErrInvalidTxn) {
			t.Errorf("an edit of the fence: %v", err)
		}
		if _, state := r.open(1, keptOwn); state["k"] != "fine" {
			t.Errorf("the other shard holds %v", state)
		}
	})
}

// TestLateWriteIsFencedOff is the unknown outcome in its worst form: the write arrives after its owner has
// given it up, loaded the shard again and gone on.
func TestLateWriteIsFencedOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newShardRig(t, memkv.NewServer())
		defer r.close()
		own := r.own(0, 1, 1)
		sh, _ := r.open(0, own)
		r.kv.SetFaults(only("txn", memkv.Fault{Late: time.Second}))
		queued := make(chan error, 1)
		first := make(chan error, 1)
		sh.Commit(set("offset", "500"), func(err error) {
			sh.Commit(set("offset", "501"), func(err error) { queued <- err })
			first <- err
		})
		if err := <-first; !errors.Is(err, metadata.ErrUnknown) {
			t.Fatal(err)
		}
		if err := <-queued; !errors.Is(err, metadata.ErrUnknown) {
			t.Errorf("a commit behind one of unknown outcome: %v", err)
		}
		r.kv.SetFaults(nil)
		sh, state := r.open(0, own)
		if len(state) != 0 {
			t.Errorf("loaded %v before the late write", state)
		}
		if err := commit(sh, set("offset", "900")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if _, state := r.open(0, own); state["offset"] != "900" {
			t.Errorf("loaded %v: the offset went back", state)
		}
	})
}

func TestUnavailableWritesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newShardRig(t, memkv.NewServer())
		defer r.close()
		own := r.own(0, 1, 1)
		sh, _ := r.open(0, own)
		for _, c := range []struct {
			fault memkv.Fault
			want  error
		}{{memkv.Fault{Refuse: true}, metadata.ErrUnavailable}, {memkv.Fault{Err: metadata.ErrNoSpace}, metadata.ErrNoSpace}} {
			r.kv.SetFaults(only("txn", c.fault))
			if err := commit(sh, set("k", "v")); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
			if err := commit(sh, set("k", "v")); !errors.Is(err, c.want) {
				t.Errorf("later: %v, want %v", err, c.want)
			}
			r.kv.SetFaults(nil)
			var state map[string]string
			if sh, state = r.open(0, own); len(state) != 0 {
				t.Errorf("loaded %v", state)
			}
		}
	})
}

// TestCommitsAreAnsweredInTime has a key space that does not answer: those that wait for a place in flight are
// told, too.
func TestCommitsAreAnsweredInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newShardRig(t, memkv.NewServer())
		defer r.close()
		var shards []*metadata.Shard
		for i := range int32(100) { // more than two transactions take
			sh, _ := r.open(i, r.own(i, 1, 1))
			shards = append(shards, sh)
		}
		r.kv.SetFaults(only("txn", memkv.Fault{Delay: time.Hour}))
		start := time.Now()
		errs := make(chan error, len(shards))
		for _, sh := range shards {
			sh.Commit(set("k", "v"), func(err error) { errs <- err })
		}
		unknown := 0
		for range shards {
			err := <-errs
			if errors.Is(err, metadata.ErrUnknown) {
				unknown++
			} else if !errors.Is(err, metadata.ErrUnavailable) {
				t.Error(err)
			}
		}
		if took := time.Since(start); took > 7*time.Second || unknown == 0 {
			t.Errorf("%d of %d outcomes unknown, after %v", unknown, len(shards), took)
		}
	})
}

// A shard has more to write than a slow key space takes in the time that a commit may wait, as when a very large group has a new
// generation, while others write as well: it gets there.
func TestMuchToWriteInOneShardIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newShardRig(t, memkv.NewServer())
		defer r.close()
		var shards []*metadata.Shard
		for i := range int32(4) {
			sh, _ := r.open(i, r.own(i, 1, 1))
			shards = append(shards, sh)
		}
		r.kv.SetFaults(only("txn", memkv.Fault{Delay: 400 * time.Millisecond}))
		var edits []metadata.Edit
		for i := range 90 {
			edits = append(edits, set(strconv.Itoa(i), "v")...)
		}
		stop := make(chan struct{})
		var others sync.WaitGroup
		for _, sh := range shards[1:] {
			others.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					if err := commit(sh, edits); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		errs := make(chan error, 30)
		for range cap(errs) {
			shards[0].Commit(edits, func(err error) { errs <- err })
		}
		for i := range cap(errs) {
			if err := <-errs; err != nil {
				t.Errorf("commit %d: %v", i, err)
			}
		}
		close(stop)
		others.Wait()
	})
}

func TestCommitterCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newShardRig(t, memkv.NewServer())
		defer r.close()
		sh, _ := r.open(0, r.own(0, 1, 1))
		r.kv.SetFaults(only("txn", memkv.Fault{Delay: time.Second}))
		flying, waiting := make(chan error, 1), make(chan error, 1)
		sh.Commit(set("k", "1"), func(err error) { flying <- err })
		time.Sleep(10 * time.Millisecond)
		sh.Commit(set("k", "2"), func(err error) { waiting <- err })
		_ = r.c.Close()
		if err := <-flying; err != nil {
			t.Errorf("in flight: %v", err)
		}
		if err := <-waiting; !errors.Is(err, metadata.ErrClosed) {
			t.Errorf("queued: %v", err)
		}
		if err := commit(sh, set("k", "3")); !errors.Is(err, metadata.ErrClosed) {
			t.Errorf("later: %v", err)
		}
		if _, _, err := r.c.Open(t.Context(), metadata.GroupShard, 0, metadata.ShardOwner{Rev: 1}); !errors.Is(err, metadata.ErrClosed) {
			t.Errorf("open: %v", err)
		}
	})
}

// TestOwnersFlap moves shards between two brokers that both go on writing until they are fenced, over
// connections that lose, delay and repeat. Each writer adds one to the counter it loaded: no acknowledged count
// may ever come twice, and none may be missing in the end.
func TestOwnersFlap(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	synctest.Test(t, func(t *testing.T) {
		server := memkv.NewServer()
		rigs := []*shardRig{newShardRig(t, server), newShardRig(t, server)}
		for i, r := range rigs {
			var mu sync.Mutex
			rng := rand.New(rand.NewPCG(seed, uint64(i)))
			r.kv.SetFaults(func(c memkv.Call) memkv.Fault {
				mu.Lock()
				defer mu.Unlock()
				f := memkv.Fault{Delay: time.Duration(rng.Int64N(int64(3 * time.Millisecond)))}
				switch rng.IntN(12) {
				case 0:
					f.LoseReply = true
				case 1:
					f.LoseRequest = true
				case 2:
					f.Late = time.Duration(rng.Int64N(int64(200 * time.Millisecond)))
				case 3:
					f.Refuse = true
				}
				if !c.Write {
					f.Late, f.LoseReply = 0, false
				}
				return f
			})
		}
		const shards = 4
		counters := make([]*counter, shards)
		var writers sync.WaitGroup
		stop := make(chan struct{})
		rng := rand.New(rand.NewPCG(seed, 99))
		var epoch int32
		for i := range counters {
			counters[i] = &counter{t: t, shard: int32(i), acked: map[int]bool{}}
		}
		for range 60 {
			c := counters[rng.IntN(shards)]
			r := rigs[rng.IntN(2)]
			epoch++
			own := r.own(c.shard, 1, epoch)
			writers.Go(func() { c.write(r, own, stop) })
			time.Sleep(time.Duration(rng.Int64N(int64(60 * time.Millisecond))))
		}
		close(stop)
		writers.Wait()
		time.Sleep(time.Second)
		for _, r := range rigs {
			r.kv.SetFaults(nil)
		}
		for _, c := range counters {
			if len(c.acked) == 0 {
				continue
			}
			epoch++
			_, state := rigs[0].open(c.shard, rigs[0].own(c.shard, 1, epoch))
			n, _ := strconv.Atoi(state["n"])
			if n < c.highest {
				t.Errorf("shard %d counted to %d, %d was acknowledged", c.shard, n, c.highest)
			}
			t.Logf("shard %d: %d of %d counts acknowledged", c.shard, len(c.acked), n)
		}
		for _, r := range rigs {
			r.close()
		}
	})
}

type counter struct {
	t     *testing.T
	shard int32

	mu      sync.Mutex
	acked   map[int]bool
	highest int
}

// write counts on under one ownership until it is fenced.
func (c *counter) write(r *shardRig, own metadata.ShardOwner, stop chan struct{}) {
	for {
		sh, entries, err := r.c.Open(c.t.Context(), metadata.GroupShard, c.shard, own)
		if errors.Is(err, metadata.ErrFenced) {
			return
		}
		n := 0
		for _, e := range entries {
			n, _ = strconv.Atoi(string(e.Value))
		}
		for err == nil {
			if err = commit(sh, set("n", strconv.Itoa(n+1))); err == nil {
				n++
				c.count(n)
			}
			select {
			case <-stop:
				return
			default:
			}
		}
		select {
		case <-stop:
			return
		case <-time.After(time.Millisecond):
		}
	}
}

func (c *counter) count(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.acked[n] {
		c.t.Errorf("shard %d: %d was acknowledged twice", c.shard, n)
	}
	c.acked[n] = true
	c.highest = max(c.highest, n)
}
