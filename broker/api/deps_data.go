package api

import (
	"context"
	"strings"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kerr"

	"firn/broker/partition"
	"firn/metadata"
	"firn/metadata/topic"
)

// DataDeps is what the handlers of records ask.
type DataDeps struct {
	Partitions *partition.Set
	// Directory returns the newest metadata; a *metadata.Image is one. A request asks once and resolves all its names
	// in what it got, so that a topic deleted and made again meanwhile is never half one and half the other.
	Directory   func() Directory
	ProducerIDs ProducerIDs

	// FetchMaxBytes bounds one Fetch response (fetch.max.bytes); 55 MiB if 0.
	FetchMaxBytes int
	// RackAware sends clients that name their rack to a follower there (replica.selector.class).
	RackAware bool
	// FetchSessions is how many fetch sessions are kept (max.incremental.fetch.session.cache.slots); 1000 if 0, none
	// if negative.
	FetchSessions int
}

// Directory is what the metadata says of topics at one revision.
type Directory interface {
	Topic(name string) (*metadata.Topic, bool)
	TopicByID(id topic.ID) (*metadata.Topic, bool)
	Partition(tp topic.Partition) (*metadata.PartitionState, bool)
	Broker(id int32) (*metadata.Broker, bool)
}

var _ Directory = (*metadata.Image)(nil)

// ProducerIDs hands out blocks of producer ids that nobody else ever gets: [first, first+count).
type ProducerIDs interface {
	NextProducerIDs(ctx context.Context) (first, count int64, err error)
}

const defaultFetchMaxBytes = 55 << 20

// dataState is what the handlers of records keep between requests.
type dataState struct {
	DataDeps
	sessions *sessionCache
	ids      *producerIDs
	rotation atomic.Uint32 // of the first partition of fetches without a session
}

func newDataState(deps DataDeps) *dataState {
	if deps.FetchMaxBytes == 0 {
		deps.FetchMaxBytes = defaultFetchMaxBytes
	}
	sessions := newSessionCache(deps.FetchSessions)
	sessions.registered = func(id int32, brokerEpoch int64) bool { return registered(deps.Directory(), id, brokerEpoch) }
	return &dataState{
		DataDeps: deps,
		sessions: sessions,
		ids:      &producerIDs{source: deps.ProducerIDs},
	}
}

func init() {
	mapErrors(partition.ErrUnknownPartition, kerr.UnknownTopicOrPartition)
	mapErrors(partition.ErrNotLeader, kerr.NotLeaderForPartition)
	mapErrors(partition.ErrFencedEpoch, kerr.FencedLeaderEpoch)
	mapErrors(partition.ErrUnknownEpoch, kerr.UnknownLeaderEpoch)
	mapErrors(partition.ErrCorruptData, kerr.CorruptMessage)
	mapErrors(partition.ErrDiskFull, kerr.KafkaStorageError)
	mapErrors(partition.ErrStorage, kerr.KafkaStorageError)
	mapErrors(partition.ErrTimeout, kerr.RequestTimedOut)
	mapErrors(partition.ErrAcks, kerr.InvalidRequiredAcks)
	mapErrors(partition.ErrNotEnoughReplicas, kerr.NotEnoughReplicas)
	mapErrors(partition.ErrNotEnoughReplicasAfterAppend, kerr.NotEnoughReplicasAfterAppend)
	mapErrors(partition.ErrCorruptBatch, kerr.CorruptMessage)
	mapErrors(partition.ErrInvalidRecord, kerr.InvalidRecord)
	mapErrors(partition.ErrInvalidTimestamp, kerr.InvalidTimestamp)
	mapErrors(partition.ErrTooLarge, kerr.MessageTooLarge)
	mapErrors(partition.ErrCodec, kerr.UnsupportedCompressionType)
	mapErrors(partition.ErrTransactional, kerr.TransactionalIDAuthorizationFailed)
	mapErrors(partition.ErrOutOfOrderSequence, kerr.OutOfOrderSequenceNumber)
	mapErrors(partition.ErrProducerEpoch, kerr.InvalidProducerEpoch)
	mapErrors(partition.ErrTooManyProducers, kerr.PolicyViolation)
	mapErrors(partition.ErrOffsetOutOfRange, kerr.OffsetOutOfRange)
	mapErrors(partition.ErrOffsetTiered, kerr.OffsetMovedToTieredStorage)
	mapErrors(partition.ErrOffsetNotAvailable, kerr.OffsetNotAvailable)
	mapErrors(partition.ErrPolicy, kerr.PolicyViolation)
	// Clients take it for a disk that is away and try again; see partition for how that does not spin.
	mapErrors(partition.ErrTierUnavailable, kerr.KafkaStorageError)
}

// dataTopic resolves a topic of a request: by id if byID is set, else by name.
func dataTopic(dir Directory, byID bool, id topic.ID, name string) (*metadata.Topic, *kerr.Error) {
	if byID {
		if t, ok := dir.TopicByID(id); ok && t.Live() {
			return t, nil
		}
		return nil, kerr.UnknownTopicID
	}
	if t, ok := dir.Topic(name); ok {
		return t, nil
	}
	return nil, kerr.UnknownTopicOrPartition
}

// findReplica returns the replica of a partition of t, which is the outcome of dataTopic.
func (a *API) findReplica(t *metadata.Topic, err *kerr.Error, index int32) (*partition.Replica, error) {
	switch {
	case err != nil:
		return nil, err
	case index < 0 || index >= t.Partitions:
		return nil, kerr.UnknownTopicOrPartition
	}
	if r := a.data.Partitions.Get(topic.Partition{ID: t.ID, Index: index}); r != nil {
		return r, nil
	}
	return nil, kerr.NotLeaderForPartition // it is another broker's, or this one is just taking it over
}

// nameOf is t's name, which outlives the request, or a copy of the one asked for.
func nameOf(t *metadata.Topic, asked string) string {
	if t != nil {
		return t.Name
	}
	return strings.Clone(asked)
}

// hint is where a client that asked the wrong broker, or with an old epoch, should turn (KIP-951).
type hint struct {
	leader, epoch int32
}

// hints collects the hints of a response and the brokers they name.
type hints struct {
	dir      Directory
	listener string
	brokers  []*metadata.Broker
}

// of returns the hint for an error of a partition of topic id; ok is false if the error does not call for one.
func (h *hints) of(code int16, id topic.ID, index int32) (hint, bool) {
	if code != kerr.NotLeaderForPartition.Code && code != kerr.FencedLeaderEpoch.Code {
		return hint{}, false
	}
	p, ok := h.dir.Partition(topic.Partition{ID: id, Index: index})
	if !ok || p.Leader < 0 {
		return hint{}, false
	}
	b, ok := h.dir.Broker(p.Leader)
	if !ok {
		return hint{}, false
	}
	for _, known := range h.brokers {
		if known.ID == b.ID {
			return hint{p.Leader, p.LeaderEpoch}, true
		}
	}
	h.brokers = append(h.brokers, b)
	return hint{p.Leader, p.LeaderEpoch}, true
}

// each calls fn for every broker that a hint names, with its address on the client's listener.
func (h *hints) each(fn func(id int32, host string, port int32, rack *string)) {
	for _, b := range h.brokers {
		l, ok := b.Listener(h.listener)
		if !ok {
			continue
		}
		var rack *string
		if b.Rack != "" {
			rack = &b.Rack
		}
		fn(b.ID, l.Host, l.Port, rack)
	}
}
