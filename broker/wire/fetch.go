package wire

import "github.com/twmb/franz-go/pkg/kmsg"

// FetchResponse is a Fetch response whose records are extents. Versions 4 to 18.
type FetchResponse struct {
	ThrottleMillis int32
	ErrorCode      int16 // from v7
	SessionID      int32 // from v7
	Topics         []FetchTopic
	// NodeEndpoints names the brokers that CurrentLeader fields point to; from v16.
	NodeEndpoints []kmsg.FetchResponseBroker
}

// FetchTopic is one topic of a FetchResponse.
type FetchTopic struct {
	Topic      string   // up to v12
	TopicID    [16]byte // from v13
	Partitions []FetchPartition
}

// FetchPartition is one partition of a FetchResponse. NewFetchPartition gives the defaults.
type FetchPartition struct {
	Partition        int32
	ErrorCode        int16
	HighWatermark    int64
	LastStableOffset int64
	LogStartOffset   int64 // from v5
	// Aborted lists aborted transactions; nil is sent as null, as for read_uncommitted.
	Aborted []kmsg.FetchResponseTopicPartitionAbortedTransaction
	// PreferredReadReplica is -1 for none; from v11.
	PreferredReadReplica int32
	// Records are the runs of whole batches in order; none is sent as an empty set, not as null.
	// ReplyFetch takes them over and releases them.
	Records []Extent
	// Diverging tells a follower, or a consumer that gave its epoch, where the logs part; -1 and -1
	// for none; from v12.
	DivergingEpoch EpochEnd
	// CurrentLeader tells a client that asked the wrong broker; -1 and -1 for none; from v12.
	CurrentLeader LeaderEpoch
}

// EpochEnd is a leader epoch and the offset behind its last batch.
type EpochEnd struct {
	Epoch     int32
	EndOffset int64
}

// LeaderEpoch is a broker and the epoch it leads at.
type LeaderEpoch struct {
	LeaderID, LeaderEpoch int32
}

// NewFetchPartition returns the answer for a partition without error, data or hints.
func NewFetchPartition(partition int32) FetchPartition {
	return FetchPartition{
		Partition:            partition,
		HighWatermark:        -1,
		LastStableOffset:     -1,
		LogStartOffset:       -1,
		PreferredReadReplica: -1,
		DivergingEpoch:       EpochEnd{Epoch: -1, EndOffset: -1},
		CurrentLeader:        LeaderEpoch{LeaderID: -1, LeaderEpoch: -1},
	}
}

// Release gives back all extents of a response that is not sent.
func (f *FetchResponse) Release() {
	for i := range f.Topics {
		for j := range f.Topics[i].Partitions {
			p := &f.Topics[i].Partitions[j]
			for _, e := range p.Records {
				e.Release()
			}
			p.Records = nil
		}
	}
}

// ReplyFetch answers a Fetch request. It takes the extents over; f may alias the frame and is not
// used after the call.
func (r *Request) ReplyFetch(f *FetchResponse) {
	r.ReplyBody(EncodeFetch(r.CorrelationID, r.Version, f))
}
