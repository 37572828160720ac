package api

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/controller"
	"firn/broker/wire"
)

// AlterPartitionReassignments (key 45), versions 0-1.
//
// Begins, changes or (with null replicas) cancels reassignments. The answer comes when that is recorded; a reassignment
// goes on by itself and ends with exactly the replicas asked for, in their order, once all of them are in sync. Replicas
// that cannot be are INVALID_REPLICA_ASSIGNMENT, nothing to cancel NO_REASSIGNMENT_IN_PROGRESS, and if another number of
// replicas is not allowed (version 1), INVALID_REPLICATION_FACTOR.
func init() {
	registerByController(kmsg.AlterPartitionAssignments, 0, 1, (*API).alterPartitionReassignments)
}

func (a *API) alterPartitionReassignments(req *wire.Request, body *kmsg.AlterPartitionAssignmentsRequest) {
	resp := kmsg.NewPtrAlterPartitionAssignmentsResponse()
	resp.AllowReplicationFactorChange = body.AllowReplicationFactorChange
	var list []controller.Reassignment
	for i := range body.Topics {
		for j := range body.Topics[i].Partitions {
			p := &body.Topics[i].Partitions[j]
			list = append(list, controller.Reassignment{
				Topic: body.Topics[i].Topic, Partition: p.Partition, Replicas: p.Replicas,
				KeepFactor: body.Version >= 1 && !body.AllowReplicationFactorChange,
			})
		}
	}
	ctx, cancel := adminContext(body.TimeoutMillis)
	defer cancel()
	errs := a.admin.Controller.Reassign(ctx, list)
	for i := range body.Topics {
		rt := kmsg.NewAlterPartitionAssignmentsResponseTopic()
		rt.Topic = body.Topics[i].Topic
		for range body.Topics[i].Partitions {
			rp := kmsg.NewAlterPartitionAssignmentsResponseTopicPartition()
			rp.Partition = list[0].Partition
			rp.ErrorCode, rp.ErrorMessage = a.outcome(errs[0], "reassign", rt.Topic)
			if rp.ErrorCode == kerr.NotController.Code {
				resp.ErrorCode, resp.ErrorMessage = rp.ErrorCode, rp.ErrorMessage
			}
			rt.Partitions = append(rt.Partitions, rp)
			list, errs = list[1:], errs[1:]
		}
		resp.Topics = append(resp.Topics, rt)
	}
	req.Reply(resp)
}
