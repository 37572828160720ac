package wire

import (
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

func TestBudgetServesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(100)
		stop := make(chan struct{})
		holder, over := b.Lease(stop), b.Lease(stop)
		mustGrow(t, holder, 90)
		mustGrow(t, over, 50) // the one that may go beyond
		if !over.Over() || b.Used() != 140 {
			t.Fatalf("over %v, used %d", over.Over(), b.Used())
		}
		var order []int
		var mu sync.Mutex
		leases := make([]*Lease, 3)
		for i := range leases {
			leases[i] = b.Lease(stop)
			go func() {
				mustGrow(t, leases[i], 40)
				mu.Lock()
				order = append(order, i)
				mu.Unlock()
			}()
			synctest.Wait()
		}
		if b.Waiting() != 3 {
			t.Fatalf("%d waiting", b.Waiting())
		}
		over.Release() // used 90: the next in the queue goes beyond
		synctest.Wait()
		if len(order) != 1 || order[0] != 0 || !leases[0].Over() {
			t.Fatalf("order %v", order)
		}
		holder.Release() // used 40: one fits, which makes 80, and the last does not
		synctest.Wait()
		if len(order) != 2 || order[1] != 1 || leases[1].Over() || b.Waiting() != 1 {
			t.Fatalf("order %v, %d waiting", order, b.Waiting())
		}
		leases[0].Release()
		synctest.Wait()
		if len(order) != 3 || b.Used() != 80 {
			t.Fatalf("order %v, used %d", order, b.Used())
		}
		leases[1].Release()
		leases[2].Release()
		if b.Used() != 0 || b.Waiting() != 0 {
			t.Fatalf("used %d, %d waiting", b.Used(), b.Waiting())
		}
	})
}

func TestBudgetWaitingIsCalledOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(10)
		stop, never := make(chan struct{}), make(chan struct{})
		over := b.Lease(never)
		mustGrow(t, over, 20)
		waiting := b.Lease(stop)
		result := make(chan error)
		go func() { result <- waiting.Grow(5) }()
		synctest.Wait()
		close(stop)
		if err := <-result; !errors.Is(err, ErrStopped) {
			t.Fatalf("got %v", err)
		}
		waiting.Release()
		over.Release()
		if b.Used() != 0 || b.Waiting() != 0 {
			t.Fatalf("used %d, %d waiting", b.Used(), b.Waiting())
		}
	})
}

// Leases that grow step by step would wait for each other for ever without the one that may go on.
func TestBudgetDoesNotDeadlock(t *testing.T) {
	b := NewBudget(1000)
	stop := make(chan struct{})
	var most atomic.Int64
	var wg sync.WaitGroup
	for g := range 32 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(g), 1))
			for range 200 {
				l := b.Lease(stop)
				for range 5 {
					mustGrow(t, l, 1+rng.IntN(120))
					for u := b.Used(); u > most.Load(); u = b.Used() {
						most.Store(u)
					}
				}
				l.Shrink(1)
				l.Release()
			}
		})
	}
	wg.Wait()
	if b.Used() != 0 || b.Waiting() != 0 {
		t.Fatalf("used %d, %d waiting", b.Used(), b.Waiting())
	}
	if most.Load() > 1000+5*120 {
		t.Fatalf("used up to %d of 1000", most.Load())
	}
}

func mustGrow(t *testing.T, l *Lease, n int) {
	if err := l.Grow(n); err != nil {
		t.Error(err)
	}
}
