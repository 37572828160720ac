package api

import (
	"errors"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/partition"
	"firn/broker/wire"
	"firn/metadata/topic"
)

// Produce (key 0), versions 3-13, listed from 0 (see ApiVersions).
//
// Each partition gets exactly one batch of format 2, which is appended before the next request of the connection is
// read. acks=all is answered when every in-sync replica has it, on a durable topic on its disk; acks=1 when the leader
// has it, on a durable topic on its disk; acks=0 gets no answer, and an error closes the connection. What is not
// acknowledged in timeout_ms is answered with REQUEST_TIMED_OUT and may still be committed. A retry of an idempotent
// producer gets its batch's first offset, once that batch is acknowledged itself.
//
// The records within a batch are taken on its checksum. They are looked into only where a setting of the topic asks for it:
// compaction for their keys, message.timestamp.before.max.ms for their times, compression.type for another codec.
//
//   - v4: KAFKA_STORAGE_ERROR, before it NOT_LEADER_OR_FOLLOWER. v5: log_start_offset. v7: zstd, before it
//     UNSUPPORTED_COMPRESSION_TYPE. v8: record_errors, error_message.
//   - v10: current_leader and node_endpoints with NOT_LEADER_OR_FOLLOWER.
//   - v13: topic ids; an unknown one is UNKNOWN_TOPIC_ID. An invalid name is UNKNOWN_TOPIC_OR_PARTITION.
//
// Left out: transactions. A transactional id, or a transactional batch, is refused with
// TRANSACTIONAL_ID_AUTHORIZATION_FAILED, which no client tries again.
func init() {
	register(kmsg.Produce, 3, 13, (*API).produce)
	listFrom(kmsg.Produce, 0)
}

// produceCall is one Produce request under way. It is used again for later ones.
type produceCall struct {
	api      *API
	req      *wire.Request
	dir      Directory
	acks     int16
	parts    partition.Produce
	resp     kmsg.ProduceResponse
	topicIDs []topic.ID // of each topic of resp, zero if it is unknown
}

var produceCalls sync.Pool // of *produceCall

func newProduceCall() *produceCall {
	c, _ := produceCalls.Get().(*produceCall)
	if c == nil {
		c = &produceCall{}
		c.parts.Done = c.done
	}
	return c
}

// maxPooledParts is how large a call may have grown and still be kept.
const maxPooledParts = 1024

func (a *API) produce(req *wire.Request, body *kmsg.ProduceRequest) {
	c := newProduceCall()
	c.api, c.req, c.dir, c.acks = a, req, a.data.Directory(), body.Acks
	c.parts.Timeout = time.Duration(max(body.TimeoutMillis, 0)) * time.Millisecond
	c.fill(body)
	a.data.Partitions.Produce(&c.parts)
	// The batches are written or refused; an answer that is still out needs nothing of the frame.
	req.ReleaseFrame()
}

// fill lays out the parts and the response, whose names do not alias the frame.
func (c *produceCall) fill(body *kmsg.ProduceRequest) {
	c.parts.Parts, c.resp.Topics, c.topicIDs = c.parts.Parts[:0], c.resp.Topics[:0], c.topicIDs[:0]
	c.resp.Brokers = nil
	byID := body.Version >= 13
	for i := range body.Topics {
		bt := &body.Topics[i]
		t, terr := dataTopic(c.dir, byID, bt.TopicID, bt.Topic)
		rt := c.addTopic()
		rt.Topic, rt.TopicID = "", bt.TopicID
		if !byID {
			rt.Topic = nameOf(t, bt.Topic)
		}
		var id topic.ID
		if t != nil {
			id = t.ID
		}
		c.topicIDs = append(c.topicIDs, id)
		for j := range bt.Partitions {
			bp := &bt.Partitions[j]
			rp := kmsg.NewProduceResponseTopicPartition()
			rp.Partition = bp.Partition
			rt.Partitions = append(rt.Partitions, rp)
			part := c.addPart()
			ap := &part.Append
			ap.Records, ap.Acks, ap.NoZstd, ap.Err = bp.Records, body.Acks, body.Version < 7, nil
			ap.BaseOffset, ap.LogAppendTime, ap.LogStart, ap.RecordErrors = -1, -1, -1, nil
			if part.Replica = nil; body.TransactionID != nil {
				ap.Err = partition.ErrTransactional
			} else {
				part.Replica, ap.Err = c.api.findReplica(t, terr, bp.Partition)
			}
		}
	}
}

// addTopic adds a topic to the response in the memory of an earlier one.
func (c *produceCall) addTopic() *kmsg.ProduceResponseTopic {
	n := len(c.resp.Topics)
	if n < cap(c.resp.Topics) {
		c.resp.Topics = c.resp.Topics[:n+1]
	} else {
		c.resp.Topics = append(c.resp.Topics, kmsg.NewProduceResponseTopic())
	}
	t := &c.resp.Topics[n]
	t.Partitions = t.Partitions[:0]
	return t
}

func (c *produceCall) addPart() *partition.ProducePart {
	n := len(c.parts.Parts)
	if n < cap(c.parts.Parts) {
		c.parts.Parts = c.parts.Parts[:n+1]
	} else {
		c.parts.Parts = append(c.parts.Parts, partition.ProducePart{})
	}
	return &c.parts.Parts[n]
}

// done answers. It is the last to touch the call.
func (c *produceCall) done(*partition.Produce) {
	if c.acks == partition.AcksNone {
		c.finishUnanswered()
	} else {
		c.reply()
	}
	if cap(c.parts.Parts) > maxPooledParts {
		return
	}
	for i := range c.parts.Parts {
		ap := &c.parts.Parts[i]
		ap.Replica, ap.Append.Records, ap.Append.RecordErrors, ap.Append.Err = nil, nil, nil, nil
	}
	c.req, c.dir = nil, nil
	produceCalls.Put(c)
}

// finishUnanswered ends a request that gets no response. Its producer learns of an error by losing the connection.
func (c *produceCall) finishUnanswered() {
	for i := range c.parts.Parts {
		if err := c.parts.Parts[i].Append.Err; err != nil {
			c.req.Close(err)
			return
		}
	}
	c.req.NoReply()
}

func (c *produceCall) reply() {
	h := hints{dir: c.api.data.Directory(), listener: c.req.Conn.Listener} // leadership may have moved meanwhile
	next := 0
	for i := range c.resp.Topics {
		t := &c.resp.Topics[i]
		for j := range t.Partitions {
			fillProduced(&t.Partitions[j], &c.parts.Parts[next].Append, c.req.Version)
			next++
			rp := &t.Partitions[j]
			if to, ok := h.of(rp.ErrorCode, c.topicIDs[i], rp.Partition); ok {
				rp.CurrentLeader.LeaderID, rp.CurrentLeader.LeaderEpoch = to.leader, to.epoch
			}
		}
	}
	h.each(func(id int32, host string, port int32, rack *string) {
		b := kmsg.NewProduceResponseBroker()
		b.NodeID, b.Host, b.Port, b.Rack = id, host, port, rack
		c.resp.Brokers = append(c.resp.Brokers, b)
	})
	c.req.Reply(&c.resp)
}

func fillProduced(rp *kmsg.ProduceResponseTopicPartition, ap *partition.Append, version int16) {
	rp.BaseOffset, rp.LogAppendTime, rp.LogStartOffset = ap.BaseOffset, ap.LogAppendTime, ap.LogStart
	if ap.Err == nil {
		return
	}
	rp.ErrorCode = storageCode(ap.Err, version >= 4)
	if clientsFault(rp.ErrorCode) {
		message := ap.Err.Error()
		rp.ErrorMessage = &message
	}
	for i := range ap.RecordErrors {
		re := kmsg.NewProduceResponseTopicPartitionErrorRecord()
		re.RelativeOffset, re.ErrorMessage = ap.RecordErrors[i].Index, &ap.RecordErrors[i].Message
		rp.ErrorRecords = append(rp.ErrorRecords, re)
	}
}

// clientsFault reports whether an error's text says something about what the client sent, and nothing about us.
func clientsFault(errorCode int16) bool {
	err := kerr.ErrorForCode(errorCode)
	for _, ours := range []*kerr.Error{kerr.KafkaStorageError, kerr.UnknownServerError, kerr.NotLeaderForPartition, kerr.RequestTimedOut} {
		if errors.Is(err, ours) {
			return false
		}
	}
	return true
}
