package bench

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Special timestamps of ListOffsets.
const (
	latestOffset        = -1
	earliestOffset      = -2
	earliestLocalOffset = -4
	latestTieredOffset  = -5
)

// listOffsets asks in one request; kadm does not know the special timestamps of tiered storage.
func listOffsets(ctx context.Context, cl *kgo.Client, name string, timestamp int64) (map[int32]int64, error) {
	md, err := kadm.NewClient(cl).Metadata(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("metadata of %s: %w", name, err)
	}
	t := md.Topics[name]
	if t.Err != nil {
		return nil, fmt.Errorf("metadata of %s: %w", name, t.Err)
	}
	req := kmsg.NewPtrListOffsetsRequest()
	rt := kmsg.NewListOffsetsRequestTopic()
	rt.Topic = name
	for p := range t.Partitions {
		rp := kmsg.NewListOffsetsRequestTopicPartition()
		rp.Partition, rp.Timestamp = p, timestamp
		rt.Partitions = append(rt.Partitions, rp)
	}
	req.Topics = append(req.Topics, rt)
	out := map[int32]int64{}
	for _, shard := range cl.RequestSharded(ctx, req) {
		if shard.Err != nil {
			return nil, fmt.Errorf("offsets of %s: %w", name, shard.Err)
		}
		for _, t := range shard.Resp.(*kmsg.ListOffsetsResponse).Topics {
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					return nil, fmt.Errorf("offsets of %s-%d: %w", name, p.Partition, err)
				}
				out[p.Partition] = p.Offset
			}
		}
	}
	return out, nil
}
