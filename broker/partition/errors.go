package partition

import (
	"errors"
	"fmt"
)

// Errors of any call on a replica.
var (
	// ErrUnknownPartition says that this broker hosts no such replica.
	ErrUnknownPartition = errors.New("partition not hosted here")
	// ErrNotLeader says that this broker does not, or no longer, or no longer provably, lead the partition. Of an
	// append that was already written it means that the outcome is unknown.
	ErrNotLeader = errors.New("not the leader of the partition")
	// ErrFencedEpoch says that the caller knows an older leader epoch than the replica.
	ErrFencedEpoch = errors.New("leader epoch is older than the replica's")
	// ErrUnknownEpoch says that the caller knows a newer leader epoch than the replica.
	ErrUnknownEpoch = errors.New("leader epoch is newer than the replica's")
	// ErrStorage says that the partition's disk failed or is offline.
	ErrStorage = errors.New("storage failure")
	// ErrDiskFull is an ErrStorage: the disk is so full that appends are refused.
	ErrDiskFull = fmt.Errorf("%w: disk is full", ErrStorage)
	// ErrTimeout says that the call's time ran out; what was begun may still happen.
	ErrTimeout = errors.New("timed out")
)

// Errors of an append.
var (
	// ErrAcks says that the acknowledgements asked for are none of -1, 0 and 1.
	ErrAcks = errors.New("required acks is not -1, 0 or 1")
	// ErrNotEnoughReplicas says that the in-sync set was too small before anything was written.
	ErrNotEnoughReplicas = errors.New("fewer in-sync replicas than min.insync.replicas")
	// ErrNotEnoughReplicasAfterAppend says that it shrank too far after the batch was written.
	ErrNotEnoughReplicasAfterAppend = errors.New("fewer in-sync replicas than min.insync.replicas after append")
	// ErrCorruptBatch says that the bytes are no whole batch or fail their checksum.
	ErrCorruptBatch = errors.New("batch is corrupt")
	// ErrInvalidRecord says that a batch or a record in it breaks a rule; RecordErrors may say more.
	ErrInvalidRecord = errors.New("invalid record")
	// ErrInvalidTimestamp says that a record's timestamp lies outside what the topic accepts.
	ErrInvalidTimestamp = errors.New("timestamp out of range")
	// ErrTooLarge says that the batch is larger than max.message.bytes.
	ErrTooLarge = errors.New("batch larger than max.message.bytes")
	// ErrCodec says that the batch is compressed by a codec that is unknown, or unknown to the request's version.
	ErrCodec = errors.New("unsupported compression type")
	// ErrTransactional says that the batch belongs to a transaction, which this broker does not take.
	ErrTransactional = errors.New("transactions are not supported")
	// ErrOutOfOrderSequence says that an idempotent producer's batch does not follow its last one.
	ErrOutOfOrderSequence = errors.New("out of order sequence number")
	// ErrProducerEpoch says that a newer incarnation of the producer has written.
	ErrProducerEpoch = errors.New("producer epoch is older than the last one seen")
	// ErrTooManyProducers says that the broker remembers as many idempotent producers as it may.
	ErrTooManyProducers = errors.New("too many idempotent producers")
)

// ErrGap says that batches which a leader has sent begin beyond the follower's end: they answer a question of the past.
var ErrGap = errors.New("batches begin beyond the end of the log")

// Errors of a read.
var (
	// ErrOffsetOutOfRange says that an offset lies below the log start or beyond the log end.
	ErrOffsetOutOfRange = errors.New("offset out of range")
	// ErrOffsetNotAvailable says that the high watermark of a new leader is not known yet.
	ErrOffsetNotAvailable = errors.New("offset not available yet")
	// ErrCorruptData says that stored bytes are damaged; the message names place and offset.
	ErrCorruptData = errors.New("stored data is corrupt")
	// ErrOffsetTiered tells a follower that the leader has the offset it asks for in the tier alone: it has to start
	// anew at the tier's end.
	ErrOffsetTiered = errors.New("offset is in the tier")
	// ErrPolicy says that the topic's settings do not allow it.
	ErrPolicy = errors.New("not allowed by the topic's settings")
	// ErrTierUnavailable says that the tier could not be read for now.
	ErrTierUnavailable = errors.New("tier is unavailable")
)
