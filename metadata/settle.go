package metadata

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"time"
)

// featureLevel is what a new cluster begins with.
const featureLevel = 1

// newClusterID returns a random (version 4) UUID in Kafka's text form.
func newClusterID() string {
	var id UUID
	_, _ = rand.Read(id[:]) // never fails
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return base64.RawURLEncoding.EncodeToString(id[:])
}

// The pause between attempts of Settle grows between these.
const (
	minSettle = 20 * time.Millisecond
	maxSettle = time.Second
)

// Settle runs txn until its outcome is known: after an unknown one it runs the same txn again, whose guards
// let it apply once at most, and if they then fail it looks whether an earlier attempt is why. So OK means
// that the writes of txn happened, by whichever attempt; they may have been overwritten since. The guards
// must be such that txn itself makes one of them fail. Nothing known to be written (ErrUnavailable) is tried
// again, too. If ctx ends first, the error is ErrUnknown or ErrUnavailable. ErrNoSpace and ErrRefused end it only as long as no
// attempt's outcome is unknown.
//
// An earlier attempt is recognised by every key it put still holding exactly its value, all of one revision
// that is not the one txn compares with. If somebody else changed one of them in between, the result is a failed guard, and the caller, reading
// again as it must, finds its own change under the other's.
func Settle(ctx context.Context, kv KV, txn Txn) (TxnResult, error) {
	return settle(ctx, kv, txn, false)
}

// Resettle is Settle for a transaction that has been run before, with an unknown outcome.
func Resettle(ctx context.Context, kv KV, txn Txn) (TxnResult, error) {
	return settle(ctx, kv, txn, true)
}

func settle(ctx context.Context, kv KV, txn Txn, unsure bool) (TxnResult, error) {
	pause := minSettle
	for {
		res, err := kv.Txn(ctx, txn)
		switch {
		case err == nil && !res.OK && unsure:
			done, rev, err := applied(ctx, kv, txn)
			if err == nil && done {
				return TxnResult{OK: true, Rev: rev, Lingers: true}, nil
			} else if err == nil {
				res.Lingers = true
				return res, nil
			}
		case err == nil:
			res.Lingers = unsure
			return res, nil
		case errors.Is(err, ErrUnknown):
			unsure = true
		case errors.Is(err, ErrNoSpace):
			// etcd says so, too, of the write that takes the last of its space, which it has made.
			done, rev, rerr := applied(ctx, kv, txn)
			switch {
			case rerr == nil && done:
				return TxnResult{OK: true, Rev: rev, Lingers: unsure}, nil
			case rerr == nil && !unsure:
				return res, err
			}
			unsure = true
		case errors.Is(err, ErrRefused) && unsure:
			// Of an earlier attempt that says nothing.
		case !errors.Is(err, ErrUnavailable):
			return res, err
		}
		if !sleep(ctx, pause) {
			if unsure {
				return TxnResult{}, errors.Join(ErrUnknown, context.Cause(ctx))
			}
			return TxnResult{}, errors.Join(ErrUnavailable, context.Cause(ctx))
		}
		pause = min(2*pause, maxSettle)
	}
}

// applied reports whether the key space holds just what txn's puts wrote.
func applied(ctx context.Context, kv KV, txn Txn) (done bool, rev int64, err error) {
	before := make(map[string]int64)
	for _, c := range txn.If {
		if !c.Create {
			before[c.Key] = c.Rev
		}
	}
	var keys []string
	var values [][]byte
	for _, op := range txn.Then {
		if !op.Delete {
			keys, values = append(keys, op.Key), append(values, op.Value)
		}
	}
	if len(keys) == 0 {
		return false, 0, nil
	}
	for len(keys) > 0 {
		n := min(len(keys), 100)
		entries, _, err := kv.Get(ctx, keys[:n]...)
		if err != nil {
			return false, 0, err
		}
		for i, e := range entries {
			if rev == 0 {
				rev = e.ModRev
			}
			if e.ModRev != rev || rev == before[e.Key] || !bytes.Equal(e.Value, values[i]) {
				return false, 0, nil
			}
		}
		keys, values = keys[n:], values[n:]
	}
	return rev != 0, rev, nil
}
