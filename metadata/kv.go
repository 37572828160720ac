package metadata

import (
	"context"
	"time"
)

// Limits every KV keeps; etcd's defaults lie above them.
const (
	// MaxTxnOps bounds the operations of one transaction. Drivers nest them as etcd requires.
	MaxTxnOps = 4096
	// MaxTxnBytes bounds keys and values of one transaction; etcd takes 1.5 MiB a request.
	MaxTxnBytes = 1 << 20
	// MaxManyOps bounds compares, writes and reads (each) of one transaction given to TxnMany.
	MaxManyOps = 24
)

// LeaseID names a lease; 0 means none.
type LeaseID int64

// Entry is one key with its value and revisions. The value belongs to the receiver of the Entry.
type Entry struct {
	Key       string
	Value     []byte
	CreateRev int64 // revision that created the key; 0 means the key is absent
	ModRev    int64 // revision that last wrote it; 0 means the key is absent
	Lease     LeaseID
}

// Exists reports whether the key is there.
func (e Entry) Exists() bool { return e.ModRev != 0 }

// Page is one answer of Range, in key order.
type Page struct {
	Entries []Entry
	More    bool  // further keys follow the last entry
	Rev     int64 // the revision this is a picture of
}

// Cmp is one guard of a transaction. Build it with Absent, ModIs or CreatedAt.
type Cmp struct {
	Key    string
	Create bool  // compare the create revision instead of the mod revision
	Rev    int64 // 0: the key is absent
}

// Absent holds when key is not there.
func Absent(key string) Cmp { return Cmp{Key: key} }

// ModIs holds when key was last written at rev; rev 0 means absent.
func ModIs(key string, rev int64) Cmp { return Cmp{Key: key, Rev: rev} }

// CreatedAt holds when key was created at rev and not deleted since.
func CreatedAt(key string, rev int64) Cmp { return Cmp{Key: key, Create: true, Rev: rev} }

// Op is one write of a transaction. Build it with Put, PutLeased, Delete or DeleteRange.
type Op struct {
	Key    string
	End    string // DeleteRange: first key not deleted
	Value  []byte
	Lease  LeaseID
	Delete bool
}

// Put writes value to key. The value must not be changed before the transaction returns.
func Put(key string, value []byte) Op { return Op{Key: key, Value: value} }

// PutLeased writes a key that goes away with the lease.
func PutLeased(key string, value []byte, lease LeaseID) Op {
	return Op{Key: key, Value: value, Lease: lease}
}

// Delete removes key; it is no error if the key is absent.
func Delete(key string) Op { return Op{Key: key, Delete: true} }

// DeleteRange removes the keys in [key, end).
func DeleteRange(key, end string) Op { return Op{Key: key, End: end, Delete: true} }

// Txn writes Then, atomically, if every guard in If holds, and otherwise reads the keys in Else. No key
// may be written twice.
type Txn struct {
	If   []Cmp
	Then []Op
	Else []string
}

// TxnResult is the verdict on one Txn.
type TxnResult struct {
	OK   bool
	Rev  int64   // of the write if OK, else of the reads
	Else []Entry // if !OK: one per Txn.Else, in order; absent keys have ModRev 0

	// Lingers is set by Settle: another attempt, whose outcome was unknown, may still be under way. It does nothing unless its
	// guards come to hold again.
	Lingers bool
}

// Event is one change of a key.
type Event struct {
	Entry
	Deleted bool // Value is nil, ModRev the revision of the deletion
}

// WatchBatch is what a watch delivers: all events of one or more whole revisions in order, or none (a
// progress note that everything up to Rev has been delivered), or the error that ends the watch.
type WatchBatch struct {
	Events []Event
	Rev    int64
	Err    error
}

// KV is an ordered key space with one revision counter, compare-and-swap, leases and watches.
// Implementations are safe for concurrent use and pass kvtest.Run.
//
// Reads are linearizable. Errors are those of errors.go: a read fails with ErrUnavailable, ErrRefused or
// ErrCompacted; a write may also end in ErrUnknown, whenever it is not certain that it had no effect.
// Contexts bound the call, and so does the driver.
type KV interface {
	// Get reads keys at one revision, which it returns. Entries come in the order of the keys, absent
	// ones with ModRev 0.
	Get(ctx context.Context, keys ...string) ([]Entry, int64, error)
	// Range reads up to limit keys of [start, end), as of rev, or as of now if rev is 0.
	Range(ctx context.Context, start, end string, rev int64, limit int) (Page, error)
	// Txn runs one transaction.
	Txn(ctx context.Context, txn Txn) (TxnResult, error)
	// TxnMany runs many independent transactions in few round trips, each with its own verdict: one
	// that conflicts fails alone. No two may write the same key, and none sees what another wrote. An
	// error leaves the outcome of every transaction with a zero Rev unknown; verdicts already known
	// are still returned.
	TxnMany(ctx context.Context, txns []Txn) ([]TxnResult, error)
	// Watch delivers every change of keys in [start, end) from revision rev on until ctx ends, then
	// closes the channel. A watch that breaks delivers a last batch with Err (ErrCompacted if rev is
	// no longer kept, else ErrUnavailable) and closes. Close of the KV closes the channel, too.
	Watch(ctx context.Context, start, end string, rev int64) <-chan WatchBatch
	// Grant makes a lease that ends ttl after the last Grant or KeepAlive reached the key space; the
	// TTL granted may be longer than asked for.
	Grant(ctx context.Context, ttl time.Duration) (LeaseID, time.Duration, error)
	// KeepAlive renews a lease once and returns its TTL.
	KeepAlive(ctx context.Context, id LeaseID) (time.Duration, error)
	// Revoke ends a lease and deletes its keys. Revoking an ended lease is ErrLeaseNotFound.
	Revoke(ctx context.Context, id LeaseID) error
	// Close ends watches and connections. Leases live on.
	Close() error
}

// PrefixEnd returns the first key after all keys that begin with prefix.
func PrefixEnd(prefix string) string {
	b := []byte(prefix)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] < 0xff {
			b[i]++
			return string(b[:i+1])
		}
	}
	return "\x00" // to the end of the key space, as etcd has it
}
