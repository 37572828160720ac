package api

import (
	"context"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/partition"
	"firn/broker/wire"
)

// ListOffsets (key 2), versions 1-11.
//
// Finds offsets by time, over both tiers: -1 latest (the high watermark), -2 earliest, -3 the record with the largest
// timestamp (v7), -4 the first offset on the local disk (v8), -5 the last one in the tier (v9), -6 the first one not
// yet in the tier (v11), or the first record whose timestamp is at least the one given. Where there is none, offset and
// timestamp are -1 without an error. A special timestamp before its version, or one that nobody knows, is
// UNSUPPORTED_VERSION; a partition that is there twice INVALID_REQUEST.
//
//   - v2: isolation_level; without transactions the last stable offset is the high watermark.
//   - v4: leader epochs both ways. v5: OFFSET_NOT_AVAILABLE (before: LEADER_NOT_AVAILABLE) while a new leader does not
//     know its high watermark. v10: timeout_ms bounds reads of the tier.
func init() { registerBlocking(kmsg.ListOffsets, 1, 11, (*API).listOffsets) }

const (
	// tierTimeout bounds what reads the tier for a request that names no time itself.
	tierTimeout = 30 * time.Second
	// tierParallel is how many partitions of one request look into the tier at a time.
	tierParallel = 16
)

// specialSince is the version that brought each special timestamp, by its negative.
var specialSince = [...]int16{1: 1, 2: 1, 3: 7, 4: 8, 5: 9, 6: 11}

// timeKnown tells whether a timestamp means something in a version.
func timeKnown(ts int64, version int16) bool {
	return ts >= 0 || ts > -int64(len(specialSince)) && version >= specialSince[-ts]
}

// namedPartition is a partition as a client names it.
type namedPartition struct {
	topic string
	index int32
}

// repeated returns the partitions that a request names, those it names more than once with true.
func repeated(topics []kmsg.ListOffsetsRequestTopic) map[namedPartition]bool {
	seen := map[namedPartition]bool{}
	for i := range topics {
		for j := range topics[i].Partitions {
			p := namedPartition{topics[i].Topic, topics[i].Partitions[j].Partition}
			_, again := seen[p]
			seen[p] = again
		}
	}
	return seen
}

func (a *API) listOffsets(req *wire.Request, body *kmsg.ListOffsetsRequest) {
	timeout := tierTimeout
	if body.Version >= 10 && body.TimeoutMillis > 0 {
		timeout = time.Duration(body.TimeoutMillis) * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(req.Conn.Context, timeout)
	defer cancel()
	dir := a.data.Directory()
	resp := kmsg.NewPtrListOffsetsResponse()
	resp.Topics = make([]kmsg.ListOffsetsResponseTopic, len(body.Topics))
	twice := repeated(body.Topics)
	work := newParallel(tierParallel)
	for i := range body.Topics {
		bt := &body.Topics[i]
		t, terr := dataTopic(dir, false, [16]byte{}, bt.Topic)
		rt := &resp.Topics[i]
		rt.Topic = bt.Topic
		rt.Partitions = make([]kmsg.ListOffsetsResponseTopicPartition, len(bt.Partitions))
		for j := range bt.Partitions {
			bp, rp := &bt.Partitions[j], &rt.Partitions[j]
			*rp = kmsg.NewListOffsetsResponseTopicPartition()
			rp.Partition = bp.Partition
			if twice[namedPartition{bt.Topic, bp.Partition}] {
				rp.ErrorCode = kerr.InvalidRequest.Code
				continue
			}
			r, err := a.findReplica(t, terr, bp.Partition)
			if !timeKnown(bp.Timestamp, body.Version) {
				err = kerr.UnsupportedVersion
			}
			if err != nil {
				rp.ErrorCode = code(err)
				continue
			}
			work.do(r.NeedsTier(bp.Timestamp), func() { listOffset(ctx, body.Version, r, bp, rp) })
		}
	}
	work.wait()
	req.Reply(resp)
}

func listOffset(ctx context.Context, version int16, r *partition.Replica, bp *kmsg.ListOffsetsRequestTopicPartition, rp *kmsg.ListOffsetsResponseTopicPartition) {
	found, err := r.ListOffset(ctx, bp.Timestamp, bp.CurrentLeaderEpoch)
	if err != nil && ctx.Err() != nil {
		err = partition.ErrTimeout
	}
	rp.ErrorCode = code(err)
	if version < 5 && rp.ErrorCode == kerr.OffsetNotAvailable.Code {
		rp.ErrorCode = kerr.LeaderNotAvailable.Code
	}
	rp.Offset, rp.Timestamp, rp.LeaderEpoch = found.Offset, found.Timestamp, found.Epoch
}

// parallel runs the slow ones of a request's partitions at the same time, a bounded number of them, and the others at
// once.
type parallel struct {
	slots chan struct{}
	group sync.WaitGroup
}

func newParallel(n int) *parallel { return &parallel{slots: make(chan struct{}, n)} }

func (p *parallel) do(slow bool, fn func()) {
	if !slow {
		fn()
		return
	}
	p.slots <- struct{}{}
	p.group.Add(1)
	go func() {
		defer p.group.Done()
		defer func() { <-p.slots }()
		fn()
	}()
}

func (p *parallel) wait() { p.group.Wait() }
