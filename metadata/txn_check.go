package metadata

import (
	"errors"
	"fmt"
)

// ErrInvalidTxn says that a transaction writes a key twice or names none; a bug of its maker.
var ErrInvalidTxn = errors.New("metadata: invalid transaction")

// MaxTxnGuards bounds the guards, and the reads, of one transaction.
const MaxTxnGuards = 64

// Check returns ErrTooLarge or ErrInvalidTxn for a transaction that no KV takes. Drivers call it.
func (t Txn) Check() error {
	if len(t.If) > MaxTxnGuards || len(t.Else) > MaxTxnGuards || len(t.Then) > MaxTxnOps {
		return fmt.Errorf("transaction of %d guards, %d writes and %d reads: %w", len(t.If), len(t.Then), len(t.Else), ErrTooLarge)
	}
	if n := t.Size(); n > MaxTxnBytes {
		return fmt.Errorf("transaction of %d bytes: %w", n, ErrTooLarge)
	}
	return checkWrites(make(map[string]bool, len(t.Then)), t.Then)
}

// CheckMany is Check for the transactions of one TxnMany.
func CheckMany(txns []Txn) error {
	seen := make(map[string]bool, len(txns))
	for _, t := range txns {
		if max(len(t.If), len(t.Then), len(t.Else)) > MaxManyOps || t.Size() > MaxTxnBytes {
			return fmt.Errorf("one of many transactions has %d guards, %d writes, %d reads and %d bytes: %w",
				len(t.If), len(t.Then), len(t.Else), t.Size(), ErrTooLarge)
		}
		if err := checkWrites(seen, t.Then); err != nil {
			return err
		}
	}
	return nil
}

// Size returns the bytes of the keys and values a transaction writes.
func (t Txn) Size() int {
	n := 0
	for _, op := range t.Then {
		n += len(op.Key) + len(op.End) + len(op.Value)
	}
	return n
}

func checkWrites(seen map[string]bool, ops []Op) error {
	for _, op := range ops {
		if op.Key == "" {
			return fmt.Errorf("write of an empty key: %w", ErrInvalidTxn)
		}
		if seen[op.Key] {
			return fmt.Errorf("key %s is written twice: %w", op.Key, ErrInvalidTxn)
		}
		seen[op.Key] = true
	}
	return nil
}
