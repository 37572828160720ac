package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/partition"
	"firn/broker/wire"
)

// OffsetForLeaderEpoch (key 23), versions 2-4.
//
// Answers with the largest leader epoch that is not above the one asked for, and the offset behind its last record, over
// both tiers; -1 and -1 where there is none. Clients compare that with where they are after a change of leader.
//
//   - v3: replica_id is accepted.
func init() { registerBlocking(kmsg.OffsetForLeaderEpoch, 2, 4, (*API).offsetForLeaderEpoch) }

func (a *API) offsetForLeaderEpoch(req *wire.Request, body *kmsg.OffsetForLeaderEpochRequest) {
	ctx, cancel := context.WithTimeout(req.Conn.Context, tierTimeout)
	defer cancel()
	dir := a.data.Directory()
	resp := kmsg.NewPtrOffsetForLeaderEpochResponse()
	resp.Topics = make([]kmsg.OffsetForLeaderEpochResponseTopic, len(body.Topics))
	work := newParallel(tierParallel)
	for i := range body.Topics {
		bt := &body.Topics[i]
		t, terr := dataTopic(dir, false, [16]byte{}, bt.Topic)
		rt := &resp.Topics[i]
		rt.Topic = bt.Topic
		rt.Partitions = make([]kmsg.OffsetForLeaderEpochResponseTopicPartition, len(bt.Partitions))
		for j := range bt.Partitions {
			bp, rp := &bt.Partitions[j], &rt.Partitions[j]
			*rp = kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
			rp.Partition, rp.LeaderEpoch, rp.EndOffset = bp.Partition, -1, -1
			r, err := a.findReplica(t, terr, bp.Partition)
			if err != nil {
				rp.ErrorCode = code(err)
				continue
			}
			work.do(r.EpochNeedsTier(bp.LeaderEpoch), func() {
				found, err := r.EpochEnd(ctx, bp.LeaderEpoch, bp.CurrentLeaderEpoch)
				if err != nil && ctx.Err() != nil {
					err = partition.ErrTimeout
				}
				rp.ErrorCode, rp.LeaderEpoch, rp.EndOffset = code(err), found.Epoch, found.End
			})
		}
	}
	work.wait()
	req.Reply(resp)
}
