package api

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/wire"
	"firn/metadata"
)

// FindCoordinator (key 10), versions 0-6.
//
// A group's coordinator is the owner of the shard its id falls into, as the metadata image has it;
// while nobody owns it the answer is COORDINATOR_NOT_AVAILABLE, which clients retry, as it is if the image names this
// broker and it has given the shard up. The empty id is a group
// like others, though it can only hold offsets.
//
//   - v1: key types. v4: many keys in one request, each answered once.
//
// Left out: transactions, refused with TRANSACTIONAL_ID_AUTHORIZATION_FAILED and a message, the one
// answer that every client takes for final; share groups (INVALID_REQUEST).
func init() { register(kmsg.FindCoordinator, 0, 6, (*API).findCoordinator) }

const (
	coordinatorGroup int8 = 0
	coordinatorTxn   int8 = 1
)

func (a *API) findCoordinator(req *wire.Request, body *kmsg.FindCoordinatorRequest) {
	keys := firsts(body.CoordinatorKeys, itself)
	if body.Version < 4 {
		keys = []string{body.CoordinatorKey}
	}
	resp := kmsg.NewPtrFindCoordinatorResponse()
	im := a.groups.Image()
	for _, key := range keys {
		rc := kmsg.NewFindCoordinatorResponseCoordinator()
		rc.Key = key
		if l, id, err := a.coordinatorOf(im, req.Conn.Listener, body.CoordinatorType, key); err != nil {
			rc.ErrorCode, rc.NodeID, rc.Port = code(err), -1, -1
			rc.ErrorMessage = kmsg.StringPtr(err.Error())
		} else {
			rc.NodeID, rc.Host, rc.Port = id, l.Host, l.Port
		}
		resp.Coordinators = append(resp.Coordinators, rc)
	}
	if body.Version < 4 {
		c := resp.Coordinators[0]
		resp.ErrorCode, resp.ErrorMessage, resp.NodeID, resp.Host, resp.Port = c.ErrorCode, c.ErrorMessage, c.NodeID, c.Host, c.Port
		resp.Coordinators = nil
	}
	req.Reply(resp)
}

func (a *API) coordinatorOf(im *metadata.Image, listener string, kind int8, key string) (metadata.Listener, int32, error) {
	switch {
	case kind == coordinatorTxn:
		return metadata.Listener{}, -1, fmt.Errorf("transactions are not supported: %w", kerr.TransactionalIDAuthorizationFailed)
	case kind != coordinatorGroup:
		return metadata.Listener{}, -1, fmt.Errorf("coordinator type %d: %w", kind, kerr.InvalidRequest)
	}
	shard := a.groups.Coordinator.Shard(key)
	own := im.ShardOwner(metadata.GroupShard, shard)
	b, ok := im.Broker(own.Broker)
	if !ok || b.Epoch != own.BrokerEpoch || !a.groups.Coordinator.Serves(shard, own) {
		return metadata.Listener{}, -1, kerr.CoordinatorNotAvailable
	}
	l, ok := b.Listener(listener)
	if !ok {
		return metadata.Listener{}, -1, kerr.CoordinatorNotAvailable
	}
	return l, b.ID, nil
}
