package metadata_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"firn/metadata"
	"firn/metadata/memkv"
)

const testTTL = 6 * time.Second

// leaseRig is a broker's registration in a bubble of fake time.
type leaseRig struct {
	t      *testing.T
	server *memkv.Server
	kv     *memkv.Client // of the store
	own    *memkv.Client // of the lease
	store  *metadata.Store
	start  time.Time
	asleep atomic.Int64 // what the clock has jumped
	epochs []int64      // as OnEpoch got them
}

func newLeaseRig(t *testing.T) *leaseRig {
	r := &leaseRig{t: t, server: memkv.NewServer(), start: time.Now()}
	r.kv, r.own = r.server.Dial(), r.server.Dial()
	var err error
	if r.store, err = metadata.Open(t.Context(), r.kv, metadata.Options{Logger: testLog(t)}); err != nil {
		t.Fatal(err)
	}
	return r
}

// again is another process on the same key space.
func (r *leaseRig) again() *leaseRig {
	n := &leaseRig{t: r.t, server: r.server, start: r.start, kv: r.server.Dial(), own: r.server.Dial()}
	var err error
	if n.store, err = metadata.Open(r.t.Context(), n.kv, metadata.Options{}); err != nil {
		r.t.Fatal(err)
	}
	return n
}

func (r *leaseRig) close() {
	_ = r.store.Close()
	_ = r.kv.Close()
	_ = r.own.Close()
}

func (r *leaseRig) options() metadata.LeaseOptions {
	return metadata.LeaseOptions{
		TTL: testTTL, KV: r.own, Logger: testLog(r.t),
		Clock: func() time.Duration { return time.Since(r.start) + time.Duration(r.asleep.Load()) },
		OnEpoch: func(_ context.Context, epoch int64) error {
			r.epochs = append(r.epochs, epoch)
			return nil
		},
	}
}

func registration(id int32, disks ...metadata.DiskFacts) metadata.Registration {
	return metadata.Registration{ID: id, BootID: "boot", Disks: disks, Listeners: []metadata.Listener{{Name: "L", Host: "h", Port: 1}}}
}

func (r *leaseRig) register(reg metadata.Registration) *metadata.Lease {
	r.t.Helper()
	l, err := r.store.Register(r.t.Context(), reg, r.options())
	if err != nil {
		r.t.Fatal(err)
	}
	return l
}

// standing returns the epoch of the registration in the key space, 0 if there is none.
func (r *leaseRig) standing(id int32) int64 {
	kv := r.server.Dial()
	defer kv.Close()
	e, _, err := kv.Get(context.Background(), r.store.Keys().Broker(id))
	if err != nil {
		r.t.Fatal(err)
	}
	return e[0].CreateRev
}

func only(call string, f memkv.Fault) func(memkv.Call) memkv.Fault {
	return func(c memkv.Call) memkv.Fault {
		if c.Name == call {
			return f
		}
		return memkv.Fault{}
	}
}

func TestLeaseCountsFromSendTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newLeaseRig(t)
		defer r.close()
		l := r.register(registration(1, metadata.DiskFacts{ID: metadata.UUID{1}}))
		defer l.Close()
		if got, want := l.Headroom(), testTTL-500*time.Millisecond; got != want {
			t.Errorf("headroom %v after registering, want %v", got, want)
		}
		// A renewal whose reply takes a second counts from when it was sent, at 1.5 s.
		r.own.SetFaults(only("keepalive", memkv.Fault{ReplyDelay: time.Second}))
		time.Sleep(2500*time.Millisecond + time.Nanosecond)
		if got, want := l.Headroom(), testTTL-500*time.Millisecond-time.Second-time.Nanosecond; got != want {
			t.Errorf("headroom %v a second after a renewal was sent, want %v", got, want)
		}
		// With no reply any more it ends TTL - 0.5 s after the last answered renewal was sent, and before
		// the key space ends it.
		r.own.SetFaults(only("keepalive", memkv.Fault{LoseReply: true}))
		time.Sleep(l.Headroom() - time.Nanosecond)
		if !l.Valid() {
			t.Error("not valid to its end")
		}
		time.Sleep(time.Nanosecond)
		if l.Valid() {
			t.Error("valid after its end")
		}
		if r.standing(1) != l.Epoch() {
			t.Error("the key space ended the lease though renewals reached it")
		}
		// Renewals get through again: the registration never ended, so it is valid with the same epoch.
		epoch := l.Epoch()
		r.own.SetFaults(nil)
		time.Sleep(testTTL)
		if !l.Valid() || l.Epoch() != epoch || len(r.epochs) != 1 {
			t.Errorf("valid %v, epochs %v", l.Valid(), r.epochs)
		}
	})
}

func TestLeaseEndsInSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newLeaseRig(t)
		defer r.close()
		l := r.register(registration(1, metadata.DiskFacts{ID: metadata.UUID{1}}))
		defer l.Close()
		r.asleep.Add(int64(testTTL))
		if l.Valid() {
			t.Error("valid after a sleep as long as the lease")
		}
		time.Sleep(testTTL) // the key space had not ended it yet
		if !l.Valid() || len(r.epochs) != 1 {
			t.Errorf("valid %v, epochs %v", l.Valid(), r.epochs)
		}
	})
}

// TestLeaseIsNeverBelievedTooLong loses, delays and repeats renewals, expires leases and lets the clock jump,
// and looks every few milliseconds: whenever the lease says that it is valid and nobody ended it by force, the
// registration of that epoch stands.
func TestLeaseIsNeverBelievedTooLong(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(seed, 0))
		r := newLeaseRig(t)
		defer r.close()
		l := r.register(registration(1, metadata.DiskFacts{ID: metadata.UUID{1}}))
		defer l.Close()
		faults := rand.New(rand.NewPCG(seed, 1))
		var bad atomic.Bool
		var rolling sync.Mutex // a registration and its renewal call at the same time
		r.own.SetFaults(func(c memkv.Call) memkv.Fault {
			if !bad.Load() {
				return memkv.Fault{}
			}
			rolling.Lock()
			defer rolling.Unlock()
			return memkv.Fault{
				Delay: time.Duration(faults.Int64N(int64(4 * time.Second))), ReplyDelay: time.Duration(faults.Int64N(int64(4 * time.Second))),
				LoseRequest: faults.IntN(3) == 0, LoseReply: faults.IntN(3) == 0, Refuse: faults.IntN(6) == 0,
			}
		})
		valid, looks := 0, 0
		for range 20_000 {
			time.Sleep(time.Duration(rng.Int64N(int64(60 * time.Millisecond))))
			synctest.Wait()
			if l.Valid() {
				valid++
				if got := r.standing(1); got != l.Epoch() {
					t.Fatalf("after %v: valid with epoch %d, the key space has %d", time.Since(r.start), l.Epoch(), got)
				}
			}
			looks++
			if rng.IntN(400) == 0 {
				bad.Store(!bad.Load())
			}
			if rng.IntN(2000) == 0 {
				r.asleep.Add(int64(rng.Int64N(int64(time.Minute))))
			}
		}
		bad.Store(false)
		time.Sleep(time.Minute)
		if !l.Valid() || r.standing(1) != l.Epoch() {
			t.Error("it has not healed")
		}
		if len(r.epochs) < 3 || valid < looks/5 {
			t.Errorf("a dull run: %d epochs, valid %d of %d times", len(r.epochs), valid, looks)
		}
		for i := 1; i < len(r.epochs); i++ {
			if r.epochs[i] <= r.epochs[i-1] {
				t.Errorf("epochs %v", r.epochs)
			}
		}
	})
}

func TestLeaseRegistersAgainInPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newLeaseRig(t)
		defer r.close()
		l := r.register(registration(1, metadata.DiskFacts{ID: metadata.UUID{1}}))
		defer l.Close()
		first, changed := l.Changed()
		kv := r.server.Dial()
		e, _, _ := kv.Get(t.Context(), r.store.Keys().Broker(1))
		_ = kv.Close()
		r.server.ExpireLease(e[0].Lease)
		r.own.SetFaults(only("grant", memkv.Fault{Refuse: true})) // and it cannot come back at once
		time.Sleep(testTTL)
		if l.Valid() {
			t.Error("valid though the lease is gone")
		}
		r.own.SetFaults(nil)
		<-changed
		synctest.Wait()
		if l.Epoch() <= first || r.standing(1) != l.Epoch() || !l.Valid() || r.epochs[1] != l.Epoch() {
			t.Errorf("epoch %d after %d; valid %v; kept %v; in the key space %d", l.Epoch(), first, l.Valid(), r.epochs, r.standing(1))
		}
		n, _ := r.store.Image().Node(1)
		if n.LastEpoch != l.Epoch() || n.Loss != metadata.LossNone {
			t.Errorf("%+v: nothing is lost while the process lives", n)
		}
	})
}

// A registration that is over before the broker hears that its epoch is confirmed is made anew, and the disks, which have that
// epoch, are not taken for old copies.
func TestDisksHaveTheEpochOfARegistrationThatIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newLeaseRig(t)
		defer r.close()
		l := r.register(registration(1, metadata.DiskFacts{ID: metadata.UUID{1}}))
		if err := l.Deregister(t.Context()); err != nil {
			t.Fatal(err)
		}
		keys := r.store.Keys()
		confirms := 0
		r.own.SetFaults(func(c memkv.Call) (f memkv.Fault) {
			if !slices.Equal(c.Keys, []string{keys.Node(1)}) || !c.Write {
				return f
			}
			switch confirms++; confirms {
			case 1:
				f.LoseReply = true
			case 2: // meanwhile the controller has acted on what the power cut may have taken, and the lease has ended
				im := waitRev(t, r.store, r.server.Rev())
				n, _ := im.Node(1)
				next := *n
				if next.Loss != metadata.LossRelaxed {
					t.Errorf("%+v", n)
				}
				next.Loss = metadata.LossNone
				mustTxn(t, r.kv, metadata.Txn{Then: []metadata.Op{keys.PutNode(&next)}})
				e, _, err := r.kv.Get(t.Context(), keys.Broker(1))
				if err != nil {
					t.Error(err)
				}
				r.server.ExpireLease(e[0].Lease)
			}
			return f
		})
		reg := registration(1, metadata.DiskFacts{ID: metadata.UUID{1}, Epoch: l.Epoch()})
		reg.BootID = "another"
		if _, err := r.store.Register(t.Context(), reg, r.options()); !errors.Is(err, metadata.ErrFenced) {
			t.Fatal(err)
		}
		l = r.register(reg)
		defer l.Close()
		if n, _ := waitRev(t, r.store, r.server.Rev()).Node(1); n.Loss != metadata.LossNone || n.LastEpoch != l.Epoch() {
			t.Errorf("%+v", n)
		}
	})
}

// Disks that are busy may take longer to note an epoch than a lease lasts.
func TestLeaseIsRenewedWhileDisksTakeTheEpoch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newLeaseRig(t)
		defer r.close()
		opts := r.options()
		opts.OnEpoch = func(context.Context, int64) error {
			time.Sleep(3 * testTTL)
			return nil
		}
		l, err := r.store.Register(t.Context(), registration(1, metadata.DiskFacts{ID: metadata.UUID{1}}), opts)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if !l.Valid() || r.standing(1) != l.Epoch() {
			t.Errorf("valid %v, epoch %d, in the key space %d", l.Valid(), l.Epoch(), r.standing(1))
		}
		first, changed := l.Changed()
		kv := r.server.Dial()
		e, _, _ := kv.Get(t.Context(), r.store.Keys().Broker(1))
		_ = kv.Close()
		r.server.ExpireLease(e[0].Lease)
		time.Sleep(2 * testTTL) // it has noticed, and its disks are at it
		if l.Valid() || l.Epoch() != first {
			t.Errorf("valid %v, epoch %d, before its disks had the new one; was %d", l.Valid(), l.Epoch(), first)
		}
		<-changed
		if !l.Valid() || r.standing(1) != l.Epoch() {
			t.Errorf("registered again: valid %v, epoch %d, in the key space %d", l.Valid(), l.Epoch(), r.standing(1))
		}
	})
}

// With a disk that hangs a broker is not taken for live for ever.
func TestRegistrationThatIsNeverCompleteEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newLeaseRig(t)
		defer r.close()
		opts, hangs := r.options(), make(chan struct{})
		opts.OnEpoch = func(context.Context, int64) error {
			<-hangs
			return nil
		}
		done := make(chan error)
		go func() {
			_, err := r.store.Register(t.Context(), registration(1, metadata.DiskFacts{ID: metadata.UUID{1}}), opts)
			done <- err
		}()
		time.Sleep(time.Minute)
		if epoch := r.standing(1); epoch != 0 {
			t.Errorf("registered under epoch %d", epoch)
		}
		close(hangs)
		if err := <-done; !errors.Is(err, metadata.ErrFenced) {
			t.Error(err)
		}
	})
}

func TestSecondBrokerWithOneNodeID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newLeaseRig(t)
		defer a.close()
		la := a.register(registration(1, metadata.DiskFacts{ID: metadata.UUID{1}}))
		b := a.again()
		defer b.close()
		start := time.Now()
		_, err := b.store.Register(t.Context(), registration(1, metadata.DiskFacts{ID: metadata.UUID{2}}), b.options())
		if !errors.Is(err, metadata.ErrNodeIDTaken) || time.Since(start) > testTTL+6*time.Second {
			t.Fatalf("another disk: %v after %v", err, time.Since(start))
		}
		if !la.Valid() || a.standing(1) != la.Epoch() {
			t.Error("the first broker suffered")
		}
		// The same, but the first one dies meanwhile.
		time.AfterFunc(time.Second, func() { _ = la.Close() })
		lb := b.register(registration(1, metadata.DiskFacts{ID: metadata.UUID{2}}))
		defer lb.Close()
		if n, _ := b.store.Image().Node(1); lb.Epoch() <= la.Epoch() || n.Loss != metadata.LossAll {
			t.Errorf("epoch %d after %d, %+v: the old disk's records are lost", lb.Epoch(), la.Epoch(), n)
		}
	})
}

// A new leader of etcd prolongs all leases: that of a broker that is gone ends later than it should.
func TestNodeIDIsFreeOnceAProlongedLeaseEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newLeaseRig(t)
		defer a.close()
		la := a.register(registration(1, metadata.DiskFacts{ID: metadata.UUID{1}}))
		b := a.again()
		defer b.close()
		start := time.Now()
		time.AfterFunc(3*time.Second, func() { _ = la.Close() }) // up to here it is prolonged
		lb := b.register(registration(1, metadata.DiskFacts{ID: metadata.UUID{2}}))
		defer lb.Close()
		if waited := time.Since(start); lb.Epoch() <= la.Epoch() || waited <= testTTL+time.Second {
			t.Errorf("epoch %d after %d, %v", lb.Epoch(), la.Epoch(), waited)
		}
	})
}

// While the key space is away no lease ends, so that a broker is there after the wait says nothing.
func TestNodeIDIsNotTakenBecauseTheKeySpaceIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newLeaseRig(t)
		defer a.close()
		la := a.register(registration(1, metadata.DiskFacts{ID: metadata.UUID{1}}))
		defer la.Close()
		b := a.again()
		defer b.close()
		time.AfterFunc(time.Second, func() { b.own.SetFaults(only("get", memkv.Fault{Refuse: true})) })
		_, err := b.store.Register(t.Context(), registration(1, metadata.DiskFacts{ID: metadata.UUID{2}}), b.options())
		if !errors.Is(err, metadata.ErrUnavailable) || errors.Is(err, metadata.ErrNodeIDTaken) {
			t.Fatal(err)
		}
	})
}

func TestSameDiskRestartsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newLeaseRig(t)
		defer a.close()
		la := a.register(registration(1, metadata.DiskFacts{ID: metadata.UUID{1}}))
		_ = la.Close() // as if killed: the lease stands
		b := a.again()
		defer b.close()
		start := time.Now()
		lb := b.register(registration(1, metadata.DiskFacts{ID: metadata.UUID{1}, Epoch: la.Epoch()}))
		if took := time.Since(start); took != 0 || lb.Epoch() <= la.Epoch() {
			t.Errorf("epoch %d after %d, after %v", lb.Epoch(), la.Epoch(), took)
		}
		if n, _ := b.store.Image().Node(1); n.Loss != metadata.LossNone {
			t.Errorf("%+v: the machine has not even booted", n)
		}
		if err := lb.Deregister(t.Context()); err != nil || b.standing(1) != 0 || lb.Valid() {
			t.Errorf("deregistered: %v, %d", err, b.standing(1))
		}
	})
}

func TestForeignDiskIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newLeaseRig(t)
		defer r.close()
		l := r.register(registration(1, metadata.DiskFacts{ID: metadata.UUID{1}}))
		_ = l.Close()
		_, err := r.store.Register(t.Context(), registration(2, metadata.DiskFacts{ID: metadata.UUID{1}}), r.options())
		if !errors.Is(err, metadata.ErrForeignDisk) {
			t.Error(err)
		}
	})
}

// TestRegisterUnderFaults loses each call's request, reply or both ways in turn.
// A key space restored from a backup would give the epochs again that the disks have had since.
func TestEpochsAreNotGivenTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newLeaseRig(t)
		defer r.close()
		l := r.register(registration(1, metadata.DiskFacts{ID: metadata.UUID{1}}))
		epoch := l.Epoch()
		if err := l.Deregister(t.Context()); err != nil {
			t.Fatal(err)
		}
		restored := newLeaseRig(t)
		defer restored.close()
		_, err := restored.store.Register(t.Context(), registration(1, metadata.DiskFacts{ID: metadata.UUID{1}, Epoch: epoch}), restored.options())
		if !errors.Is(err, metadata.ErrWentBack) || restored.standing(1) != 0 {
			t.Errorf("%v; registered under epoch %d, had %d", err, restored.standing(1), epoch)
		}
		again := r.register(registration(1, metadata.DiskFacts{ID: metadata.UUID{1}, Epoch: epoch}))
		if again.Epoch() <= epoch {
			t.Errorf("epoch %d after %d", again.Epoch(), epoch)
		}
		_ = again.Close()
	})
}

func TestRegisterUnderFaults(t *testing.T) {
	faults := map[string]memkv.Fault{
		"request lost": {LoseRequest: true}, "reply lost": {LoseReply: true}, "refused": {Refuse: true},
		"applied late": {Late: 50 * time.Millisecond}, "applied very late": {Late: 20 * time.Second},
	}
	for name, fault := range faults {
		for at := range 6 {
			t.Run(fmt.Sprint(name, " at call ", at), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newLeaseRig(t)
					defer r.close()
					var calls atomic.Int32
					r.own.SetFaults(func(memkv.Call) memkv.Fault {
						if calls.Add(1) == int32(at+1) {
							return fault
						}
						return memkv.Fault{}
					})
					reg := registration(1, metadata.DiskFacts{ID: metadata.UUID{1}})
					l, err := r.store.Register(t.Context(), reg, r.options())
					for err != nil { // as a supervisor would
						l, err = r.store.Register(t.Context(), reg, r.options())
					}
					defer l.Close()
					time.Sleep(time.Minute)
					n, _ := r.store.Image().Node(1)
					if !l.Valid() || r.standing(1) != l.Epoch() || n.LastEpoch != l.Epoch() {
						t.Errorf("valid %v, epoch %d, in the key space %d, confirmed %d", l.Valid(), l.Epoch(), r.standing(1), n.LastEpoch)
					}
				})
			})
		}
	}
}

func TestEpochThatCannotBeKeptIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newLeaseRig(t)
		defer r.close()
		opts := r.options()
		full := errors.New("disk full")
		opts.OnEpoch = func(context.Context, int64) error { return full }
		reg := registration(1, metadata.DiskFacts{ID: metadata.UUID{1}})
		if _, err := r.store.Register(t.Context(), reg, opts); !errors.Is(err, full) {
			t.Fatal(err)
		}
		if r.standing(1) != 0 {
			t.Error("still registered")
		}
		// Nothing was appended in the epoch that no disk holds, so nothing is lost without it.
		l := r.register(reg)
		defer l.Close()
		if n, _ := waitRev(t, r.store, r.server.Rev()).Node(1); n.Loss != metadata.LossNone || n.LastEpoch != l.Epoch() {
			t.Errorf("%+v", n)
		}
	})
}

// How a broker flushed by its own settings counts until what that may have cost it is dealt with, whatever it is set to since.
func TestOwnFlushingIsKnownWhenItMatters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newLeaseRig(t)
		defer r.close()
		var epoch int64
		live := func(boot string, relaxed bool) *metadata.Node {
			reg := registration(1, metadata.DiskFacts{ID: metadata.UUID{1}, Epoch: epoch})
			reg.BootID, reg.Relaxed = boot, relaxed
			l := r.register(reg)
			defer l.Close()
			epoch = l.Epoch()
			n, _ := r.store.Image().Node(1)
			return n
		}
		for _, c := range []struct {
			boot          string
			relaxed, want bool
			loss          metadata.Loss
		}{
			{"a", true, true, metadata.LossNone},
			{"a", false, false, metadata.LossNone},
			{"a", true, true, metadata.LossNone},
			{"b", false, true, metadata.LossRelaxed},
			{"c", false, true, metadata.LossRelaxed},
		} {
			if n := live(c.boot, c.relaxed); n.Relaxed != c.want || n.Loss != c.loss {
				t.Errorf("boot %s, relaxed %v: %+v", c.boot, c.relaxed, n)
			}
		}
	})
}

func TestLossOf(t *testing.T) {
	d := func(id byte, epoch int64, clean bool) metadata.DiskFacts {
		return metadata.DiskFacts{ID: metadata.UUID{id}, Epoch: epoch, Clean: clean}
	}
	node := &metadata.Node{LastEpoch: 100, BootID: "boot", Disks: []metadata.UUID{{1}, {2}}}
	for _, c := range []struct {
		name  string
		node  *metadata.Node
		boot  string
		disks []metadata.DiskFacts
		want  metadata.Loss
	}{
		{"first registration", nil, "boot", []metadata.DiskFacts{d(1, 0, false)}, metadata.LossNone},
		{"never confirmed", &metadata.Node{Disks: []metadata.UUID{{1}}}, "boot", []metadata.DiskFacts{d(9, 0, false)}, metadata.LossNone},
		{"killed, same boot", node, "boot", []metadata.DiskFacts{d(1, 100, false), d(2, 100, false)}, metadata.LossNone},
		{"clean stop, other boot", node, "other", []metadata.DiskFacts{d(1, 100, true), d(2, 100, true)}, metadata.LossNone},
		{"one disk not clean, other boot", node, "other", []metadata.DiskFacts{d(1, 100, true), d(2, 100, false)}, metadata.LossRelaxed},
		{"boot unknown", node, "", []metadata.DiskFacts{d(1, 100, false), d(2, 100, false)}, metadata.LossRelaxed},
		{"disk failed, same boot", node, "boot", []metadata.DiskFacts{d(1, 100, false), {ID: metadata.UUID{2}, Epoch: 100, Failed: true}}, metadata.LossRelaxed},
		{"disk missing", node, "boot", []metadata.DiskFacts{d(1, 100, true)}, metadata.LossAll},
		{"disk replaced", node, "boot", []metadata.DiskFacts{d(1, 100, true), d(3, 0, true)}, metadata.LossAll},
		{"old copy of a disk", node, "boot", []metadata.DiskFacts{d(1, 100, true), d(2, 99, true)}, metadata.LossAll},
		{"disk added", node, "boot", []metadata.DiskFacts{d(1, 100, true), d(2, 100, true), d(3, 0, true)}, metadata.LossNone},
		{"crashed before the epoch was confirmed", node, "boot", []metadata.DiskFacts{d(1, 120, false), d(2, 100, false)}, metadata.LossNone},
	} {
		if got := metadata.LossOf(c.node, &metadata.Registration{BootID: c.boot, Disks: c.disks}); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestLossesAddUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newLeaseRig(t)
		defer r.close()
		l := r.register(registration(1, metadata.DiskFacts{ID: metadata.UUID{1}}))
		_ = l.Close()
		l = r.register(registration(1, metadata.DiskFacts{ID: metadata.UUID{1}, Epoch: 0}, metadata.DiskFacts{ID: metadata.UUID{2}}))
		_ = l.Close()
		l = r.register(registration(1, metadata.DiskFacts{ID: metadata.UUID{1}, Epoch: l.Epoch()}, metadata.DiskFacts{ID: metadata.UUID{2}, Epoch: l.Epoch()}))
		defer l.Close()
		if n, _ := r.store.Image().Node(1); n.Loss != metadata.LossAll {
			t.Errorf("%+v: nobody has acted on what the registration before the last one lost", n)
		}
	})
}

func TestCampaign(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newLeaseRig(t)
		defer a.close()
		b := a.again()
		defer b.close()
		la := a.register(registration(1, metadata.DiskFacts{ID: metadata.UUID{1}}))
		lb := b.register(registration(2, metadata.DiskFacts{ID: metadata.UUID{2}}))
		defer lb.Close()
		epoch, err := la.Campaign(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if again, err := la.Campaign(t.Context()); err != nil || again != epoch {
			t.Errorf("again: %d, %v", again, err)
		}
		if _, err := lb.Campaign(t.Context()); !errors.Is(err, metadata.ErrConflict) {
			t.Errorf("while another is controller: %v", err)
		}
		_ = la.Close()
		time.Sleep(2 * testTTL)
		if _, err := la.Campaign(t.Context()); !errors.Is(err, metadata.ErrFenced) {
			t.Errorf("with an ended registration: %v", err)
		}
		b.kv.SetFaults(only("txn", memkv.Fault{LoseReply: true}))
		time.AfterFunc(time.Second, func() { b.kv.SetFaults(nil) })
		second, err := lb.Campaign(t.Context())
		if err != nil || second <= epoch {
			t.Errorf("%d after %d, %v", second, epoch, err)
		}
		synctest.Wait()
		if c := b.store.Image().Controller(); c.ID != 2 || c.Epoch != second || c.BrokerEpoch != lb.Epoch() {
			t.Errorf("%+v", c)
		}
	})
}

// However a registration ends and another begins meanwhile, none holds for the epoch of another.
func TestOnlyTheNewestRegistrationHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newLeaseRig(t)
		defer r.close()
		l := r.register(registration(1))
		defer l.Close()
		first := l.Epoch()
		if !l.Holds(first) || l.Holds(first+1) {
			t.Error("a new registration does not hold, or another one does")
		}
		r.asleep.Store(int64(2 * testTTL))
		if l.Holds(first) {
			t.Error("it holds after the machine slept")
		}
		_, changed := l.Changed()
		r.server.ExpireLease(leaseOf(t, r.kv, r.store.Keys().Broker(1)))
		<-changed
		if second := l.Epoch(); second == first || l.Holds(first) || !l.Holds(second) {
			t.Errorf("after epoch %d comes %d; the first holds: %v, the second: %v", first, second, l.Holds(first), l.Holds(second))
		}
	})
}

// A broker that has left for good may be stopped whenever somebody comes to it. Until then it is given nothing, also if it has to register
// again; started anew it is one like any other.
func TestWhoHasLeftForGoodStaysGoneUntilItIsStartedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newLeaseRig(t)
		defer r.close()
		l := r.register(registration(1, metadata.DiskFacts{ID: metadata.UUID{1}}))
		state := func() metadata.NodeState {
			t.Helper()
			im, err := r.store.WaitRev(t.Context(), r.server.Rev())
			if err != nil {
				t.Fatal(err)
			}
			n, _ := im.Node(1)
			return n.State
		}
		state()
		n, _ := r.store.Image().Node(1)
		left := *n
		left.State = metadata.NodeGone
		if _, err := r.kv.Txn(t.Context(), metadata.Txn{Then: []metadata.Op{r.store.Keys().PutNode(&left)}}); err != nil {
			t.Fatal(err)
		}
		_, changed := l.Changed()
		r.server.ExpireLease(leaseOf(t, r.kv, r.store.Keys().Broker(1)))
		<-changed
		if got := state(); got != metadata.NodeGone {
			t.Errorf("state %v once it has registered again", got)
		}
		if err := l.Deregister(t.Context()); err != nil {
			t.Error(err)
		}
		_ = l.Close()
		anew := r.register(registration(1, metadata.DiskFacts{ID: metadata.UUID{1}, Epoch: l.Epoch(), Clean: true}))
		defer anew.Close()
		if got := state(); got != metadata.NodeLive {
			t.Errorf("state %v once it is started anew", got)
		}
	})
}

// leaseOf is the lease of a key.
func leaseOf(t *testing.T, kv metadata.KV, key string) metadata.LeaseID {
	t.Helper()
	entries, _, err := kv.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	return entries[0].Lease
}

func TestBootTimeMoves(t *testing.T) {
	before := metadata.BootTime()
	if after := metadata.BootTime(); after < before || before <= 0 {
		t.Errorf("%v after %v", after, before)
	}
}

func BenchmarkLeaseValid(b *testing.B) {
	server := memkv.NewServer()
	kv := dial(b, server)
	s, err := metadata.Open(testContext(b), kv, metadata.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	l, err := s.Register(testContext(b), registration(1), metadata.LeaseOptions{KV: kv})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	for b.Loop() {
		if !l.Valid() {
			b.Fatal("not valid")
		}
	}
}
