package partition

// Completion is told how an append ended. It is called exactly once for each append, from whichever
// goroutine and perhaps before Append returns, with no lock held; it must not block.
type Completion interface {
	AppendDone(a *Append)
}

// Append is one batch on its way into one replica. The caller owns it and may reuse it once its completion has
// been called; it must not be copied or touched in between.
type Append struct {
	// Records is the produced record set, which has to be exactly one batch. It is rewritten in place and not
	// kept beyond the call of Replica.Append.
	Records []byte
	// Acks is -1 (all in-sync replicas), 1 (the leader) or 0 (complete at once).
	Acks int16
	// Zstd says that the request's version may carry zstd.
	Zstd bool
	Done Completion
	// Index is the caller's: which of its appends this is.
	Index int

	// The outcome, valid once the completion is called.
	Err error
	// BaseOffset is the offset of the first record, of the original batch where this one is a duplicate; -1 on
	// error.
	BaseOffset int64
	// LogAppendTime is the broker's timestamp in ms where the topic has log append time, else -1.
	LogAppendTime int64
	// LogStart is the partition's first offset, -1 if it is not known.
	LogStart int64
	// RecordErrors name the records that made the batch invalid, at most maxRecordErrors of them.
	RecordErrors []RecordError
}

// RecordError is one record's fault.
type RecordError struct {
	Index   int32 // of the record in its batch
	Message string
}

// maxRecordErrors bounds the answer to one bad batch.
const maxRecordErrors = 100
