package api

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/wire"
	"firn/metadata"
	"firn/metadata/topic"
)

// DescribeTopicPartitions (key 75), version 0.
//
// Topics by name, or all, in the order of their names and page by page: at most
// response_partition_limit partitions (and maxDescribedPartitions) in one answer, whose cursor says
// where the next one begins. Partitions come with their eligible leader replicas.
//
// A cursor whose topic is not among those asked for, or whose partition is negative, is
// INVALID_REQUEST. Nothing is ever created.
func init() { register(kmsg.DescribeTopicPartitions, 0, 0, (*API).describeTopicPartitions) }

// maxDescribedPartitions is Kafka's default of max.request.partition.size.limit.
const maxDescribedPartitions = 2000

func (a *API) describeTopicPartitions(req *wire.Request, body *kmsg.DescribeTopicPartitionsRequest) {
	resp := kmsg.NewPtrDescribeTopicPartitionsResponse()
	names, ok := namesFrom(body)
	if !ok {
		for i := range body.Topics {
			resp.Topics = append(resp.Topics, describedError(body.Topics[i].Topic, kerr.InvalidRequest))
		}
		req.Reply(resp)
		return
	}
	im := a.admin.Image()
	if len(body.Topics) == 0 {
		names = allNamesFrom(im, body.Cursor)
	}
	page := describePage{
		places: places{im: im, listener: req.Conn.Listener, byListener: true},
		left:   max(min(int(body.ResponsePartitionLimit), maxDescribedPartitions), 1),
		all:    len(body.Topics) == 0,
		resp:   resp,
	}
	for _, name := range names {
		from := int32(0)
		if body.Cursor != nil && body.Cursor.Topic == name {
			from = body.Cursor.Partition
		}
		if !page.add(name, from) {
			break
		}
	}
	req.Reply(resp)
}

// namesFrom returns the topics asked for from the cursor on, in order; false if the cursor is none.
func namesFrom(body *kmsg.DescribeTopicPartitionsRequest) ([]string, bool) {
	c := body.Cursor
	if c != nil && c.Partition < 0 {
		return nil, false
	}
	var names []string
	for i := range body.Topics {
		if n := body.Topics[i].Topic; c == nil || n >= c.Topic {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	return names, c == nil || len(body.Topics) == 0 || slices.Contains(names, c.Topic)
}

func allNamesFrom(im *metadata.Image, c *kmsg.DescribeTopicPartitionsRequestCursor) []string {
	var names []string
	for _, t := range liveTopics(im) {
		if c == nil || t.Name >= c.Topic {
			names = append(names, t.Name)
		}
	}
	return names
}

// describePage is one answer as it is filled.
type describePage struct {
	places
	left int  // partitions that still fit
	all  bool // topics were not asked for by name, so one that is gone is not an error
	resp *kmsg.DescribeTopicPartitionsResponse
}

// add adds a topic from one of its partitions on; false if the page is full.
func (p *describePage) add(name string, from int32) bool {
	if p.left == 0 {
		p.cursor(name, 0)
		return false
	}
	t, ok := p.im.Topic(name)
	if !ok {
		if err := kerr.UnknownTopicOrPartition; !p.all {
			if topic.ValidateName(name) != nil {
				err = kerr.InvalidTopicException
			}
			p.resp.Topics = append(p.resp.Topics, describedError(name, err))
		}
		return true
	}
	rt := kmsg.NewDescribeTopicPartitionsResponseTopic()
	rt.Topic, rt.TopicID, rt.AuthorizedOperations = &t.Name, t.ID, topicOperations
	end := min(int64(from)+int64(p.left), int64(t.Partitions))
	for i := from; int64(i) < end; i++ {
		rt.Partitions = append(rt.Partitions, p.described(topic.Partition{ID: t.ID, Index: i}))
	}
	p.left -= len(rt.Partitions)
	p.resp.Topics = append(p.resp.Topics, rt)
	if end < int64(t.Partitions) {
		p.cursor(name, int32(end))
		return false
	}
	return true
}

func (p *describePage) cursor(name string, partition int32) {
	c := kmsg.NewDescribeTopicPartitionsResponseNextCursor()
	c.Topic, c.Partition = name, partition
	p.resp.NextCursor = &c
}

func (p *describePage) described(tp topic.Partition) kmsg.DescribeTopicPartitionsResponseTopicPartition {
	pl := p.partition(tp)
	rp := kmsg.NewDescribeTopicPartitionsResponseTopicPartition()
	rp.ErrorCode, rp.Partition, rp.LeaderID, rp.LeaderEpoch = errorCode(pl.err), tp.Index, pl.leader, pl.epoch
	rp.Replicas, rp.ISR, rp.OfflineReplicas = pl.replicas, pl.isr, pl.off
	// An empty list, not null: the Java client takes no null here.
	rp.EligibleLeaderReplicas = append([]int32{}, pl.elr...)
	rp.LastKnownELR = append([]int32{}, pl.lastELR...)
	return rp
}

func describedError(name string, err *kerr.Error) kmsg.DescribeTopicPartitionsResponseTopic {
	rt := kmsg.NewDescribeTopicPartitionsResponseTopic()
	rt.ErrorCode, rt.Topic, rt.AuthorizedOperations = err.Code, &name, topicOperations
	return rt
}
