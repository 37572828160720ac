package controller

import "errors"

// Answers of the verbs, beside topic.Error for settings and metadata's outcomes (ErrUnknown: the change may
// have happened or may still happen; ErrUnavailable, ErrNoSpace: it has not). Clients are told their texts.
var (
	// ErrNotController: another broker is the controller; ask that one.
	ErrNotController = errors.New("not the controller")
	// ErrTopicExists: a live topic has that name.
	ErrTopicExists = errors.New("topic exists")
	// ErrTopicNameCollision: another topic's name is the same but for '.' and '_'.
	ErrTopicNameCollision = errors.New("topic name collides")
	// ErrUnknownTopic: no live topic has that name.
	ErrUnknownTopic = errors.New("unknown topic")
	// ErrUnknownTopicID: no live topic has that id.
	ErrUnknownTopicID = errors.New("unknown topic id")
	// ErrPartitions: a number of partitions that cannot be.
	ErrPartitions = errors.New("invalid number of partitions")
	// ErrReplicationFactor: a replication factor that cannot be, or not with the brokers there are.
	ErrReplicationFactor = errors.New("invalid replication factor")
	// ErrAssignment: an explicit assignment that contradicts itself or names unknown brokers.
	ErrAssignment = errors.New("invalid replica assignment")
	// ErrNoReassignment: there is none under way that could be cancelled.
	ErrNoReassignment = errors.New("no reassignment in progress")
	// ErrElectionNotNeeded: the partition is led by whom the election would choose.
	ErrElectionNotNeeded = errors.New("election not needed")
	// ErrPreferredLeader: the preferred leader is away, not in sync, about to leave or not ready yet.
	ErrPreferredLeader = errors.New("preferred leader not available")
	// ErrEligibleLeaders: no replica is alive and can serve, not even one that may lack records.
	ErrEligibleLeaders = errors.New("no eligible leader available")
	// ErrUnknownBroker: no broker of that id was ever registered, or it has left for good.
	ErrUnknownBroker = errors.New("broker not registered")
	// ErrRequest: a request that contradicts itself.
	ErrRequest = errors.New("invalid request")
	// ErrConfig: a change of settings that cannot be, and that no topic.Error reports.
	ErrConfig = errors.New("invalid setting")
)
