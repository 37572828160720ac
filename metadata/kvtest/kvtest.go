// Package kvtest is the exam that every metadata.KV passes, and real etcd processes for tests.
//
// Run is the only definition of what a KV must do; doc comments on the interface say it in words. What a
// driver does when its server fails is tested beside the driver.
package kvtest

import (
	"context"
	"testing"
	"time"

	"firn/metadata"
)

// Subject is a key space under exam.
type Subject struct {
	// Dial opens a new connection to it. The exam closes it.
	Dial func(tb testing.TB) metadata.KV
	// Compact forgets what was before rev.
	Compact func(tb testing.TB, rev int64)
	// TTL is a short lease that it grants as asked for.
	TTL time.Duration
}

// patience bounds each wait for something that must happen; machines that run tests are busy.
const patience = 2 * time.Minute

// Run examines the key space that open returns; each call must return an empty one.
func Run(t *testing.T, open func(tb testing.TB) Subject) {
	for _, part := range []struct {
		name string
		fn   func(*exam)
	}{
		{"Revisions", (*exam).revisions},
		{"Guards", (*exam).guards},
		{"GuardsUnderRace", (*exam).guardsUnderRace},
		{"RangeAtRevision", (*exam).rangeAtRevision},
		{"ManyVerdicts", (*exam).manyVerdicts},
		{"ManyLarge", (*exam).manyLarge},
		{"TxnLimits", (*exam).txnLimits},
		{"WatchFromThePast", (*exam).watchFromThePast},
		{"WatchWholeRevisions", (*exam).watchWholeRevisions},
		{"Compaction", (*exam).compaction},
		{"WatchEnds", (*exam).watchEnds},
		{"LeaseEnds", (*exam).leaseEnds},
		{"LeaseKeptAlive", (*exam).leaseKeptAlive},
		{"LeaseRevoked", (*exam).leaseRevoked},
		{"EndedContext", (*exam).endedContext},
	} {
		t.Run(part.name, func(t *testing.T) {
			s := open(t)
			x := &exam{T: t, Subject: s}
			x.kv = x.dial()
			var cancel context.CancelFunc
			x.ctx, cancel = context.WithTimeout(context.Background(), patience)
			defer cancel()
			part.fn(x)
		})
	}
}

type exam struct {
	*testing.T
	Subject
	ctx context.Context
	kv  metadata.KV
}

func (x *exam) dial() metadata.KV {
	kv := x.Subject.Dial(x.T)
	x.Cleanup(func() {
		if err := kv.Close(); err != nil {
			x.Errorf("close: %v", err)
		}
	})
	return kv
}

func (x *exam) txn(txn metadata.Txn) metadata.TxnResult {
	x.Helper()
	res, err := x.kv.Txn(x.ctx, txn)
	if err != nil {
		x.Fatalf("txn: %v", err)
	}
	return res
}

// put writes keys and values in one transaction and returns its revision.
func (x *exam) put(pairs ...string) int64 {
	x.Helper()
	var txn metadata.Txn
	for i := 0; i < len(pairs); i += 2 {
		txn.Then = append(txn.Then, metadata.Put(pairs[i], []byte(pairs[i+1])))
	}
	res := x.txn(txn)
	if !res.OK {
		x.Fatal("a transaction without guards failed")
	}
	return res.Rev
}

func (x *exam) get(keys ...string) []metadata.Entry {
	x.Helper()
	entries, rev, err := x.kv.Get(x.ctx, keys...)
	if err != nil {
		x.Fatalf("get: %v", err)
	}
	if len(entries) != len(keys) {
		x.Fatalf("get of %d keys returned %d", len(keys), len(entries))
	}
	for i, e := range entries {
		if e.Key != keys[i] || e.ModRev > rev {
			x.Fatalf("get of %s at %d returned %+v", keys[i], rev, e)
		}
	}
	return entries
}

// next returns the next batch of a watch that has events.
func (x *exam) next(w <-chan metadata.WatchBatch) metadata.WatchBatch {
	x.Helper()
	for {
		select {
		case b, ok := <-w:
			if !ok {
				x.Fatal("watch closed")
			}
			if b.Err != nil || len(b.Events) > 0 {
				return b
			}
		case <-x.ctx.Done():
			x.Fatal("nothing watched")
		}
	}
}
