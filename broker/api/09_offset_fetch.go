package api

import (
	"cmp"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/group"
	"firn/broker/wire"
	"firn/metadata"
	"firn/metadata/topic"
)

// OffsetFetch (key 9), versions 1-10.
//
// Where nothing was committed the offset is -1 and there is no error, also for a group or a topic that
// does not exist; 0 is never made up.
//
// If it fails it answers with the error and no topics, in version 1 with the error for each partition: some
// clients look at partitions alone, and would take an offset of -1 beside an error for a group without commits. A
// coordinator that cannot answer for now says COORDINATOR_LOAD_IN_PROGRESS: at COORDINATOR_NOT_AVAILABLE Java before 3.9
// fails, and librdkafka never reads these partitions.
//
// A group, topic or partition named twice is answered once, a topic for all partitions that it is named with.
//
//   - v2: null topics ask for all that is committed; an error for the whole request.
//   - v5: leader epochs. v8: many groups. v10: topic ids; an unknown one is UNKNOWN_TOPIC_ID.
//   - v7's require_stable holds back nothing: there are no transactions whose offsets could be pending.
//   - v9's member id and epoch belong to the consumer protocol; a classic group is not checked for
//     them, as in Kafka.
func init() { register(kmsg.OffsetFetch, 1, 10, (*API).offsetFetch) }

func (a *API) offsetFetch(req *wire.Request, body *kmsg.OffsetFetchRequest) {
	resp := kmsg.NewPtrOffsetFetchResponse()
	groups := body.Groups
	if body.Version < 8 {
		groups = []kmsg.OffsetFetchRequestGroup{groupOf(body)}
	}
	groups = firsts(groups, func(g *kmsg.OffsetFetchRequestGroup) string { return g.Group })
	im := a.groups.Image()
	resp.Groups = make([]kmsg.OffsetFetchResponseGroup, len(groups))
	each(len(groups), func(i int, done func()) {
		a.fetchOffsets(im, body.Version, groups[i], func(g kmsg.OffsetFetchResponseGroup) {
			resp.Groups[i] = g
			done()
		})
	}, func() {
		if body.Version < 8 {
			flatten(resp)
		}
		req.Reply(resp)
	})
}

// groupOf is the request of versions that ask for one group in the form of those that ask for many.
func groupOf(body *kmsg.OffsetFetchRequest) kmsg.OffsetFetchRequestGroup {
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = body.Group
	if body.Topics != nil {
		g.Topics = []kmsg.OffsetFetchRequestGroupTopic{}
	}
	for _, t := range body.Topics {
		gt := kmsg.NewOffsetFetchRequestGroupTopic()
		gt.Topic, gt.Partitions = t.Topic, t.Partitions
		g.Topics = append(g.Topics, gt)
	}
	return g
}

// flatten moves the one group to where versions before 8 have it.
func flatten(resp *kmsg.OffsetFetchResponse) {
	g := resp.Groups[0]
	resp.Groups, resp.ErrorCode = nil, g.ErrorCode
	for _, t := range g.Topics {
		rt := kmsg.NewOffsetFetchResponseTopic()
		rt.Topic = t.Topic
		for _, p := range t.Partitions {
			rp := kmsg.NewOffsetFetchResponseTopicPartition()
			rp.Partition, rp.Offset, rp.LeaderEpoch, rp.Metadata, rp.ErrorCode = p.Partition, p.Offset, p.LeaderEpoch, p.Metadata, p.ErrorCode
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
}

// offsetTopic names a topic, by one or the other.
type offsetTopic struct {
	name string
	id   topic.ID
}

func (a *API) fetchOffsets(im *metadata.Image, version int16, g kmsg.OffsetFetchRequestGroup, done func(kmsg.OffsetFetchResponseGroup)) {
	out := kmsg.NewOffsetFetchResponseGroup()
	out.Group = g.Group
	byID := version >= 10
	if g.Topics == nil {
		a.groups.Coordinator.Offsets(g.Group, nil, true, func(all *[]group.Fetched, err error) {
			if out.ErrorCode = unsureCode(err); err == nil {
				out.Topics = byTopic(im, *all)
			}
			done(out)
		})
		return
	}
	var want []topic.Partition
	var at []*kmsg.OffsetFetchResponseGroupTopicPartition
	g.Topics = folded(g.Topics, func(t *kmsg.OffsetFetchRequestGroupTopic) offsetTopic { return offsetTopic{t.Topic, t.TopicID} },
		func(t *kmsg.OffsetFetchRequestGroupTopic) *[]int32 { return &t.Partitions }, itself)
	for _, t := range g.Topics {
		rt := kmsg.NewOffsetFetchResponseGroupTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		rt.Partitions = make([]kmsg.OffsetFetchResponseGroupTopicPartition, len(t.Partitions))
		found, err := findTopic(im, byID, t.Topic, t.TopicID)
		for j, p := range t.Partitions {
			rp := &rt.Partitions[j]
			*rp = kmsg.NewOffsetFetchResponseGroupTopicPartition()
			rp.Partition, rp.Offset, rp.LeaderEpoch, rp.Metadata = p, -1, -1, kmsg.StringPtr("")
			if err == nil {
				want = append(want, topic.Partition{ID: found.ID, Index: p})
				at = append(at, rp)
			} else if byID {
				rp.ErrorCode = err.Code
			}
		}
		out.Topics = append(out.Topics, rt)
	}
	a.groups.Coordinator.Offsets(g.Group, want, false, func(got *[]group.Fetched, err error) {
		switch {
		case err == nil:
			for i, f := range *got {
				at[i].Offset, at[i].LeaderEpoch, at[i].Metadata = f.Offset, f.LeaderEpoch, kmsg.StringPtr(f.Metadata)
			}
		case version >= 2:
			out.ErrorCode, out.Topics = unsureCode(err), nil
		default:
			for _, t := range out.Topics {
				for j := range t.Partitions {
					t.Partitions[j].ErrorCode = unsureCode(err)
				}
			}
		}
		done(out)
	})
}

// byTopic groups all commits by live topic, in the order of names.
func byTopic(im *metadata.Image, all []group.Fetched) []kmsg.OffsetFetchResponseGroupTopic {
	byID := map[topic.ID][]kmsg.OffsetFetchResponseGroupTopicPartition{}
	for _, f := range all {
		rp := kmsg.NewOffsetFetchResponseGroupTopicPartition()
		rp.Partition, rp.Offset, rp.LeaderEpoch, rp.Metadata = f.Partition.Index, f.Offset, f.LeaderEpoch, kmsg.StringPtr(f.Metadata)
		byID[f.Partition.ID] = append(byID[f.Partition.ID], rp)
	}
	topics := []kmsg.OffsetFetchResponseGroupTopic{}
	for id, ps := range byID {
		t, err := findTopic(im, true, "", id)
		if err != nil {
			continue
		}
		slices.SortFunc(ps, func(a, b kmsg.OffsetFetchResponseGroupTopicPartition) int {
			return cmp.Compare(a.Partition, b.Partition)
		})
		rt := kmsg.NewOffsetFetchResponseGroupTopic()
		rt.Topic, rt.TopicID, rt.Partitions = t.Name, id, ps
		topics = append(topics, rt)
	}
	slices.SortFunc(topics, func(a, b kmsg.OffsetFetchResponseGroupTopic) int { return cmp.Compare(a.Topic, b.Topic) })
	return topics
}
