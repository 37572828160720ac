package api

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/wire"
	"firn/metadata"
	"firn/metadata/topic"
)

// Metadata (key 3), versions 0-13.
//
// Answers from one image: live brokers with their address under the client's listener, the
// controller, and the topics asked for, each once.
//
//   - v0: no topics means all; replicas that are away are left out with REPLICA_NOT_AVAILABLE. v1: null
//     means all and an empty list none; controller, rack. v2: cluster id. v4: the client may forbid
//     auto-creation, which is allowed below. v5: offline replicas. v7: leader epochs.
//   - v6: a leader without the client's listener is LISTENER_NOT_FOUND, below LEADER_NOT_AVAILABLE.
//   - v8: authorized operations, those of the cluster up to v10.
//   - v10: topic ids in answers. v12: topics asked for by id, in v10 and v11 that is INVALID_REQUEST;
//     an unknown id is UNKNOWN_TOPIC_ID.
//   - v13: an error for the whole answer, which is never needed.
//
// A topic that does not exist is UNKNOWN_TOPIC_OR_PARTITION without partitions, also where asking for
// it has it created: that happens behind the answer (auto_create.go), but for the topics that Kafka makes for itself. An
// invalid name is INVALID_TOPIC_EXCEPTION, auto-creation or not.
func init() { register(kmsg.Metadata, 0, 13, (*API).metadata) }

func (a *API) metadata(req *wire.Request, body *kmsg.MetadataRequest) {
	im := a.admin.Image()
	m := &metadataCall{
		api: a, body: body, im: im,
		places: places{im: im, self: a.admin.BrokerID, listener: req.Conn.Listener, v0: body.Version == 0, byListener: body.Version >= 6},
	}
	resp := kmsg.NewPtrMetadataResponse()
	clusterID := im.Cluster().ID
	resp.ClusterID = &clusterID
	resp.ControllerID = m.controllerID()
	resp.Brokers = m.brokers()
	resp.AuthorizedOperations = operations(body.IncludeClusterAuthorizedOperations, clusterOperations)
	if body.Topics == nil || body.Version == 0 && len(body.Topics) == 0 {
		resp.Topics = m.allTopics()
	} else {
		resp.Topics = m.askedTopics()
	}
	req.Reply(resp)
	a.auto.create(req.Conn, m.missing)
}

// metadataCall is one Metadata request.
type metadataCall struct {
	places
	api     *API
	body    *kmsg.MetadataRequest
	im      *metadata.Image
	missing []string // topics to create
}

func (m *metadataCall) brokers() []kmsg.MetadataResponseBroker {
	var out []kmsg.MetadataResponseBroker
	for _, b := range m.im.Brokers() {
		l, ok := b.Listener(m.listener)
		if !ok {
			continue
		}
		rb := kmsg.NewMetadataResponseBroker()
		rb.NodeID, rb.Host, rb.Port, rb.Rack = b.ID, l.Host, l.Port, rack(b.Rack)
		out = append(out, rb)
	}
	return out
}

func (m *metadataCall) allTopics() []kmsg.MetadataResponseTopic {
	var out []kmsg.MetadataResponseTopic
	for _, t := range liveTopics(m.im) {
		out = append(out, m.topic(t))
	}
	return out
}

// liveTopics returns the topics that clients see, by name.
func liveTopics(im *metadata.Image) []*metadata.Topic {
	var live []*metadata.Topic
	for t := range im.Topics() {
		if t.Live() {
			live = append(live, t)
		}
	}
	slices.SortFunc(live, func(a, b *metadata.Topic) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return live
}

func (m *metadataCall) askedTopics() []kmsg.MetadataResponseTopic {
	out := make([]kmsg.MetadataResponseTopic, 0, len(m.body.Topics))
	seen := make(map[string]bool, len(m.body.Topics))
	for i := range m.body.Topics {
		asked := &m.body.Topics[i]
		key := string(asked.TopicID[:])
		if asked.TopicID == (topic.ID{}) && asked.Topic != nil {
			key = *asked.Topic
		}
		if seen[key] {
			continue
		}
		seen[key] = true
		out = append(out, m.askedTopic(asked))
	}
	return out
}

func (m *metadataCall) askedTopic(asked *kmsg.MetadataRequestTopic) kmsg.MetadataResponseTopic {
	byID := asked.TopicID != topic.ID{}
	switch {
	case m.body.Version < 12 && (byID || asked.Topic == nil):
		return m.refusedTopic(asked, kerr.InvalidRequest)
	case byID:
		if t, ok := m.im.TopicByID(asked.TopicID); ok && t.Live() {
			return m.topic(t)
		}
		return m.refusedTopic(asked, kerr.UnknownTopicID)
	case asked.Topic == nil:
		return m.refusedTopic(asked, kerr.InvalidTopicException)
	}
	if t, ok := m.im.Topic(*asked.Topic); ok {
		return m.topic(t)
	}
	if topic.ValidateName(*asked.Topic) != nil {
		return m.refusedTopic(asked, kerr.InvalidTopicException)
	}
	if m.api.admin.AutoCreate && (m.body.AllowAutoTopicCreation || m.body.Version < 4) && !kafkasOwn[*asked.Topic] {
		m.missing = append(m.missing, *asked.Topic)
	}
	return m.refusedTopic(asked, kerr.UnknownTopicOrPartition)
}

func (m *metadataCall) refusedTopic(asked *kmsg.MetadataRequestTopic, err *kerr.Error) kmsg.MetadataResponseTopic {
	rt := kmsg.NewMetadataResponseTopic()
	rt.ErrorCode, rt.Topic, rt.TopicID = err.Code, asked.Topic, asked.TopicID
	rt.AuthorizedOperations = operations(m.body.IncludeTopicAuthorizedOperations, topicOperations)
	return rt
}

func (m *metadataCall) topic(t *metadata.Topic) kmsg.MetadataResponseTopic {
	rt := kmsg.NewMetadataResponseTopic()
	rt.Topic, rt.TopicID = &t.Name, t.ID
	rt.AuthorizedOperations = operations(m.body.IncludeTopicAuthorizedOperations, topicOperations)
	rt.Partitions = make([]kmsg.MetadataResponseTopicPartition, t.Partitions)
	for i := range rt.Partitions {
		pl := m.partition(topic.Partition{ID: t.ID, Index: int32(i)})
		rp := kmsg.NewMetadataResponseTopicPartition()
		rp.ErrorCode, rp.Partition, rp.Leader, rp.LeaderEpoch = errorCode(pl.err), int32(i), pl.leader, pl.epoch
		rp.Replicas, rp.ISR, rp.OfflineReplicas = pl.replicas, pl.isr, pl.off
		rt.Partitions[i] = rp
	}
	return rt
}
