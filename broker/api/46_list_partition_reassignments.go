package api

import (
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/wire"
	"firn/metadata"
	"firn/metadata/topic"
)

// ListPartitionReassignments (key 46), version 0.
//
// The reassignments under way, of all partitions or of those named. Partitions that are not being reassigned, or that do
// not exist, are left out, and so is a topic without any. Replicas are the ones to end with, and then those that are to
// go. Every broker answers.
func init() { register(kmsg.ListPartitionReassignments, 0, 0, (*API).listPartitionReassignments) }

func (a *API) listPartitionReassignments(req *wire.Request, body *kmsg.ListPartitionReassignmentsRequest) {
	resp := kmsg.NewPtrListPartitionReassignmentsResponse()
	im := a.admin.Image()
	if body.Topics == nil {
		for t := range im.Topics() {
			if t.Live() {
				every := make([]int32, t.Partitions)
				for i := range every {
					every[i] = int32(i)
				}
				addReassignments(resp, im, t.Name, every)
			}
		}
		slices.SortFunc(resp.Topics, func(a, b kmsg.ListPartitionReassignmentsResponseTopic) int { return strings.Compare(a.Topic, b.Topic) })
	}
	for _, t := range folded(body.Topics, func(t *kmsg.ListPartitionReassignmentsRequestTopic) string { return t.Topic },
		func(t *kmsg.ListPartitionReassignmentsRequestTopic) *[]int32 { return &t.Partitions }, itself) {
		addReassignments(resp, im, t.Topic, t.Partitions)
	}
	req.Reply(resp)
}

// addReassignments adds those of a topic's partitions to an answer.
func addReassignments(resp *kmsg.ListPartitionReassignmentsResponse, im *metadata.Image, name string, partitions []int32) {
	t, ok := im.Topic(name)
	if !ok {
		return
	}
	rt := kmsg.NewListPartitionReassignmentsResponseTopic()
	rt.Topic = name
	for _, i := range partitions {
		p, ok := im.Partition(topic.Partition{ID: t.ID, Index: i})
		if !ok || len(p.Adding)+len(p.Removing) == 0 {
			continue
		}
		rp := kmsg.NewListPartitionReassignmentsResponseTopicPartition()
		rp.Partition, rp.Replicas, rp.AddingReplicas, rp.RemovingReplicas = i, p.Replicas, p.Adding, p.Removing
		rt.Partitions = append(rt.Partitions, rp)
	}
	if len(rt.Partitions) > 0 {
		resp.Topics = append(resp.Topics, rt)
	}
}
