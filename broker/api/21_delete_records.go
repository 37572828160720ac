package api

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/wire"
)

// DeleteRecords (key 21), versions 0-2.
//
// Moves the log start of each partition up to the offset given, -1 for the high watermark, and answers with the low
// watermark once the new start is durable in the metadata. An offset at or below the log start changes nothing; one
// above the high watermark is OFFSET_OUT_OF_RANGE. A topic that is only compacted refuses with POLICY_VIOLATION. What
// is not done in timeout_ms (at least one second) is REQUEST_TIMED_OUT and may still happen.
func init() { registerBlocking(kmsg.DeleteRecords, 0, 2, (*API).deleteRecords) }

func (a *API) deleteRecords(req *wire.Request, body *kmsg.DeleteRecordsRequest) {
	ctx, cancel := context.WithTimeout(req.Conn.Context, max(time.Duration(body.TimeoutMillis)*time.Millisecond, minAdminTimeout))
	defer cancel()
	dir := a.data.Directory()
	resp := kmsg.NewPtrDeleteRecordsResponse()
	resp.Topics = make([]kmsg.DeleteRecordsResponseTopic, len(body.Topics))
	work := newParallel(tierParallel)
	for i := range body.Topics {
		bt := &body.Topics[i]
		t, terr := dataTopic(dir, false, [16]byte{}, bt.Topic)
		rt := &resp.Topics[i]
		rt.Topic = bt.Topic
		rt.Partitions = make([]kmsg.DeleteRecordsResponseTopicPartition, len(bt.Partitions))
		for j := range bt.Partitions {
			bp, rp := &bt.Partitions[j], &rt.Partitions[j]
			*rp = kmsg.NewDeleteRecordsResponseTopicPartition()
			rp.Partition, rp.LowWatermark = bp.Partition, -1
			r, err := a.findReplica(t, terr, bp.Partition)
			if err != nil {
				rp.ErrorCode = code(err)
				continue
			}
			work.do(true, func() {
				low, err := r.DeleteRecords(ctx, bp.Offset)
				rp.LowWatermark, rp.ErrorCode = low, code(err)
			})
		}
	}
	work.wait()
	req.Reply(resp)
}
