package api

import (
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/wire"
	"firn/metadata"
	"firn/metadata/topic"
)

// DescribeLogDirs (key 35), versions 1-5.
//
// What lies in this broker's log directories: local bytes by partition, the disk's size and what is
// left of it. What a topic has in object storage is not in a log directory and does not count. A null
// list means all topics; for a topic listed without partitions none are shown. A directory out of
// service is KAFKA_STORAGE_ERROR.
//
//   - v3: an error for the whole answer, which is never needed. v4: size of the disk. v5: whether the
//     directory takes no new replicas, which it always does.
//   - offset_lag is 0 and is_future false: replicas do not move between directories.
func init() { registerBlocking(kmsg.DescribeLogDirs, 1, 5, (*API).describeLogDirs) }

func (a *API) describeLogDirs(req *wire.Request, body *kmsg.DescribeLogDirsRequest) {
	wanted := wantedPartitions(body)
	im := a.admin.Image()
	resp := kmsg.NewPtrDescribeLogDirsResponse()
	for _, dir := range a.admin.LogDirs() {
		rd := kmsg.NewDescribeLogDirsResponseDir()
		rd.Dir, rd.TotalBytes, rd.UsableBytes = dir.Path, dir.Total, dir.Usable
		if dir.Err != nil {
			rd.ErrorCode = kerr.KafkaStorageError.Code
		} else {
			rd.Topics = describedReplicas(dir.Replicas, im, wanted)
		}
		resp.Dirs = append(resp.Dirs, rd)
	}
	req.Reply(resp)
}

// wantedPartitions tells which partitions were asked for.
func wantedPartitions(body *kmsg.DescribeLogDirsRequest) func(name string, index int32) bool {
	if body.Topics == nil {
		return func(string, int32) bool { return true }
	}
	type key struct {
		name  string
		index int32
	}
	asked := map[key]bool{}
	for i := range body.Topics {
		for _, p := range body.Topics[i].Partitions {
			asked[key{body.Topics[i].Topic, p}] = true
		}
	}
	return func(name string, index int32) bool { return asked[key{name, index}] }
}

func describedReplicas(replicas []StoredReplica, im *metadata.Image, wanted func(string, int32) bool) []kmsg.DescribeLogDirsResponseDirTopic {
	byTopic := map[topic.ID]*kmsg.DescribeLogDirsResponseDirTopic{}
	for _, r := range replicas {
		t, ok := im.TopicByID(r.Partition.ID)
		if !ok || !t.Live() || !wanted(t.Name, r.Partition.Index) {
			continue
		}
		dt := byTopic[t.ID]
		if dt == nil {
			fresh := kmsg.NewDescribeLogDirsResponseDirTopic()
			dt, fresh.Topic = &fresh, t.Name
			byTopic[t.ID] = dt
		}
		dp := kmsg.NewDescribeLogDirsResponseDirTopicPartition()
		dp.Partition, dp.Size = r.Partition.Index, r.Size
		dt.Partitions = append(dt.Partitions, dp)
	}
	out := make([]kmsg.DescribeLogDirsResponseDirTopic, 0, len(byTopic))
	for _, dt := range byTopic {
		slices.SortFunc(dt.Partitions, func(x, y kmsg.DescribeLogDirsResponseDirTopicPartition) int {
			return int(x.Partition) - int(y.Partition)
		})
		out = append(out, *dt)
	}
	slices.SortFunc(out, func(x, y kmsg.DescribeLogDirsResponseDirTopic) int { return strings.Compare(x.Topic, y.Topic) })
	return out
}
