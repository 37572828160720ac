package api

import (
	"math"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/group"
	"firn/broker/wire"
	"firn/metadata"
	"firn/metadata/topic"
)

// OffsetCommit (key 8), versions 2-10.
//
// No error means that the offset is committed in the metadata store. Topics are resolved to their ids at
// one revision, so that a commit never lands on a topic made later under the same name. What can't
// be resolved is UNKNOWN_TOPIC_OR_PARTITION (version 10: UNKNOWN_TOPIC_ID) and keeps nothing else from
// being committed.
//
//   - v2-4: a retention time, which stands in place of offsets.retention.minutes.
//   - v6: leader epochs. v7: static members. v9: a member of an unknown group gets GROUP_ID_NOT_FOUND. v10: topic ids.
func init() { register(kmsg.OffsetCommit, 2, 10, (*API).offsetCommit) }

func (a *API) offsetCommit(req *wire.Request, body *kmsg.OffsetCommitRequest) {
	resp := kmsg.NewPtrOffsetCommitResponse()
	im := a.groups.Image()
	var commits []group.Commit
	var codes []*int16 // where the code of each commit belongs
	resp.Topics = make([]kmsg.OffsetCommitResponseTopic, len(body.Topics))
	for i, t := range body.Topics {
		rt := kmsg.NewOffsetCommitResponseTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		rt.Partitions = make([]kmsg.OffsetCommitResponseTopicPartition, len(t.Partitions))
		found, err := findTopic(im, body.Version >= 10, t.Topic, t.TopicID)
		for j, p := range t.Partitions {
			rp := &rt.Partitions[j]
			*rp = kmsg.NewOffsetCommitResponseTopicPartition()
			rp.Partition = p.Partition
			switch {
			case err != nil:
				rp.ErrorCode = err.Code
			case p.Partition < 0 || p.Partition >= found.Partitions:
				rp.ErrorCode = kerr.UnknownTopicOrPartition.Code
			default:
				c := group.Commit{Partition: topic.Partition{ID: found.ID, Index: p.Partition}, Offset: p.Offset, LeaderEpoch: p.LeaderEpoch}
				if p.Metadata != nil {
					c.Metadata = strings.Clone(*p.Metadata)
				}
				commits = append(commits, c)
				codes = append(codes, &rp.ErrorCode)
			}
		}
		resp.Topics[i] = rt
	}
	by := group.Committer{
		Group: body.Group, MemberID: body.MemberID, InstanceID: body.InstanceID, Generation: body.Generation,
		Version: body.Version, Expires: expires(time.Now(), body.RetentionTimeMillis),
	}
	a.groups.Coordinator.Commit(by, commits, func(c *group.Committed, err error) {
		whole := committedCode(c, err)
		for i, code := range codes {
			*code = whole
			if whole == 0 {
				*code = c.Codes[i]
			}
		}
		req.Reply(resp)
	})
}

// expires is when a retention time that begins now is over; zero if the client gave none.
func expires(now time.Time, retentionMillis int64) time.Time {
	if retentionMillis < 0 {
		return time.Time{}
	}
	const longest = math.MaxInt64 / int64(time.Millisecond)
	return now.Add(time.Duration(min(retentionMillis, longest)) * time.Millisecond)
}

// findTopic finds a live topic by name, or by id.
func findTopic(im *metadata.Image, byID bool, name string, id [16]byte) (*metadata.Topic, *kerr.Error) {
	if byID {
		if t, ok := im.TopicByID(id); ok && t.State == metadata.TopicLive {
			return t, nil
		}
		return nil, kerr.UnknownTopicID
	}
	if t, ok := im.Topic(name); ok {
		return t, nil
	}
	return nil, kerr.UnknownTopicOrPartition
}
