package metadata

import "errors"

// Outcomes of reads and writes. Drivers and typed writes wrap them; test with errors.Is.
var (
	// ErrConflict says that a guard did not hold, so nothing was written: read again and decide anew.
	ErrConflict = errors.New("metadata: changed by someone else")
	// ErrFenced says that the writer's own epoch is over (its broker, controller or shard epoch), so
	// nothing was written and no retry will help until it has a new one.
	ErrFenced = errors.New("metadata: writer's epoch is over")
	// ErrUnknown says that a write's outcome is unknown: it may have been applied, may still be applied
	// later, or never. Read again linearizably before deciding.
	ErrUnknown = errors.New("metadata: outcome unknown")
	// ErrUnavailable says that the key space could not be reached or could not serve; nothing was
	// written. Retriable.
	ErrUnavailable = errors.New("metadata: unavailable")
	// ErrCompacted says that a revision is no longer kept: list again.
	ErrCompacted = errors.New("metadata: revision compacted")
	// ErrLeaseNotFound says that a lease has ended or never was.
	ErrLeaseNotFound = errors.New("metadata: lease not found")
	// ErrTooLarge says that a transaction exceeds MaxTxnOps or MaxTxnBytes.
	ErrTooLarge = errors.New("metadata: transaction too large")
	// ErrNoSpace says that the key space has reached its quota; writes are refused until an operator
	// acts, deletions excepted. Nothing was written.
	ErrNoSpace = errors.New("metadata: key space full")
	// ErrRefused says that the key space refuses us: bad credentials or missing permission. Not
	// retriable without an operator.
	ErrRefused = errors.New("metadata: access refused")
	// ErrClosed says that the KV, Store or Committer was closed.
	ErrClosed = errors.New("metadata: closed")
)

// Facts that stand against what was asked.
var (
	// ErrNodeIDTaken says that another live broker holds this node.id.
	ErrNodeIDTaken = errors.New("metadata: node.id is taken by a live broker")
	// ErrForeignDisk says that a disk belongs to another broker.
	ErrForeignDisk = errors.New("metadata: disk belongs to another broker")
	// ErrNewerVersion says that a record was written by a newer Firn than this one can read.
	ErrNewerVersion = errors.New("metadata: record of a newer version")
	// ErrBadRecord says that a record cannot be read at all.
	ErrBadRecord = errors.New("metadata: unreadable record")
	// ErrNotFound says that the thing named is not there (a topic, partition, broker or shard).
	ErrNotFound = errors.New("metadata: not found")
	// ErrTopicGone says that the topic is being deleted or is gone.
	ErrTopicGone = errors.New("metadata: topic is deleted")
	// ErrWentBack says that the key space is older than what was already seen of it: it was restored
	// without raising its revision, so epochs would repeat. An operator must act.
	ErrWentBack = errors.New("metadata: key space went back in time")
)
