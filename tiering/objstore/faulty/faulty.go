// Package faulty makes any bucket go wrong in the ways that stores and networks do.
//
// What belongs here: choosing calls by rule and seed, and the faults. What does not: a store of its
// own; Wrap takes a mem.Bucket in simulations and a real driver where the wire matters.
package faulty

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"

	"firn/tiering/objstore"
)

// ErrInjected is wrapped by every error that a fault makes up and that is not a sentinel of objstore.
var ErrInjected = errors.New("injected fault")

// Op is a set of verbs.
type Op uint8

// The verbs of objstore.Bucket.
const (
	Put Op = 1 << iota
	Get
	Head
	List
	Delete

	All = Put | Get | Head | List | Delete
)

// String names a single verb.
func (o Op) String() string {
	names := map[Op]string{Put: "put", Get: "get", Head: "head", List: "list", Delete: "delete"}
	if name, ok := names[o]; ok {
		return name
	}
	return fmt.Sprintf("op(%#x)", uint8(o))
}

// Rule says which calls a fault hits. A call is hit by each rule that it matches, in the order in
// which they were added, until one fails it.
type Rule struct {
	Ops    Op                    // zero means All
	Match  func(key string) bool // nil matches every key; List passes its prefix, Delete each key in turn
	Skip   int                   // so many matching calls pass first
	Times  int                   // so many are hit after that; zero means every one
	Chance float64               // the part of them that is hit at random; zero means every one
	Fault  Fault
}

// Injector holds the rules of one or more wrapped buckets. All methods are safe for concurrent use.
type Injector struct {
	mu struct {
		sync.Mutex
		rng   *rand.Rand
		rules []*activeRule
		late  []func(context.Context) error
		calls map[Op]int
	}
}

type activeRule struct {
	Rule
	seen, hit int
}

// NewInjector returns an injector without rules; print the seed when a test fails.
func NewInjector(seed uint64) *Injector {
	i := &Injector{}
	i.mu.rng = rand.New(rand.NewPCG(seed, seed))
	i.mu.calls = map[Op]int{}
	return i
}

// Add puts a rule into force until remove is called.
func (i *Injector) Add(r Rule) (remove func()) {
	if r.Ops == 0 {
		r.Ops = All
	}
	a := &activeRule{Rule: r}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.mu.rules = append(i.mu.rules, a)
	return func() {
		i.mu.Lock()
		defer i.mu.Unlock()
		for j, b := range i.mu.rules {
			if a == b {
				i.mu.rules = append(i.mu.rules[:j:j], i.mu.rules[j+1:]...)
				return
			}
		}
	}
}

// Clear removes all rules.
func (i *Injector) Clear() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.mu.rules = nil
}

// Calls is the number of calls of the verb so far, failed ones included.
func (i *Injector) Calls(op Op) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.mu.calls[op]
}

// Land lets the puts that Late held back happen now, in their order, and returns how many there were.
func (i *Injector) Land(ctx context.Context) (int, error) {
	i.mu.Lock()
	late := i.mu.late
	i.mu.late = nil
	i.mu.Unlock()
	var errs []error
	for _, put := range late {
		errs = append(errs, put(ctx))
	}
	return len(late), errors.Join(errs...)
}

// faults returns what hits this call.
func (i *Injector) faults(op Op, keys []string) []Fault {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.mu.calls[op]++
	var hit []Fault
	for _, r := range i.mu.rules {
		if r.Ops&op == 0 || !r.matches(keys) {
			continue
		}
		r.seen++
		if r.seen <= r.Skip || (r.Times > 0 && r.hit >= r.Times) {
			continue
		}
		if r.Chance > 0 && i.mu.rng.Float64() >= r.Chance {
			continue
		}
		r.hit++
		hit = append(hit, r.Fault)
	}
	return hit
}

func (r *activeRule) matches(keys []string) bool {
	if r.Match == nil {
		return true
	}
	for _, key := range keys {
		if r.Match(key) {
			return true
		}
	}
	return false
}

func (i *Injector) random(n int) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.mu.rng.IntN(n)
}

// Wrap returns b with the injector's faults.
func Wrap(b objstore.Bucket, i *Injector) objstore.Bucket { return &bucket{Bucket: b, i: i} }

type bucket struct {
	objstore.Bucket
	i *Injector
}

// call runs one verb between the faults that hit it. do is not called where a fault fails the call
// before it reaches the store.
func (b *bucket) call(ctx context.Context, op Op, keys []string, do func([]Fault) error) error {
	faults := b.i.faults(op, keys)
	for _, f := range faults {
		if f.before == nil {
			continue
		}
		if err := f.before(ctx); err != nil {
			return fmt.Errorf("%s %v: %w", op, keys, err)
		}
	}
	if err := do(faults); err != nil {
		return err
	}
	for _, f := range faults {
		if f.after == nil {
			continue
		}
		if err := f.after(ctx); err != nil {
			return fmt.Errorf("%s %v: %w", op, keys, err)
		}
	}
	return nil
}

func (b *bucket) Put(ctx context.Context, key string, src objstore.Source, cond objstore.Condition) (info objstore.Info, err error) {
	err = b.call(ctx, Put, []string{key}, func(faults []Fault) (err error) {
		if slices.ContainsFunc(faults, func(f Fault) bool { return f.late }) {
			return b.hold(key, src, cond)
		}
		info, err = b.Bucket.Put(ctx, key, src, cond)
		return err
	})
	if err != nil {
		return objstore.Info{}, err
	}
	return info, nil
}

func (b *bucket) Get(ctx context.Context, key string, off, n int64) (body io.ReadCloser, err error) {
	err = b.call(ctx, Get, []string{key}, func(faults []Fault) (err error) {
		if body, err = b.Bucket.Get(ctx, key, off, n); err != nil {
			return err
		}
		for _, f := range faults {
			if f.body != nil {
				body = f.body(b.i, body)
			}
		}
		return nil
	})
	if err != nil {
		if body != nil {
			body.Close()
		}
		return nil, err
	}
	return body, nil
}

func (b *bucket) Head(ctx context.Context, key string) (info objstore.Info, err error) {
	err = b.call(ctx, Head, []string{key}, func([]Fault) (err error) {
		info, err = b.Bucket.Head(ctx, key)
		return err
	})
	if err != nil {
		return objstore.Info{}, err
	}
	return info, nil
}

func (b *bucket) List(ctx context.Context, prefix, startAfter string, fn func(objstore.Info) error) error {
	return b.call(ctx, List, []string{prefix}, func([]Fault) error {
		return b.Bucket.List(ctx, prefix, startAfter, fn)
	})
}

func (b *bucket) Delete(ctx context.Context, keys ...string) error {
	return b.call(ctx, Delete, keys, func([]Fault) error {
		return b.Bucket.Delete(ctx, keys...)
	})
}
