package controller

import "errors"

// Answers of the verbs, beside topic.Error for settings and metadata's outcomes (ErrUnknown: the change may
// have happened or may still happen; ErrUnavailable, ErrNoSpace: it has not).
var (
	// ErrNotController: another broker is the controller; ask that one.
	ErrNotController = errors.New("controller: not the controller")
	// ErrTopicExists: a live topic has that name.
	ErrTopicExists = errors.New("controller: topic exists")
	// ErrTopicNameCollision: another topic's name is the same but for '.' and '_'.
	ErrTopicNameCollision = errors.New("controller: topic name collides")
	// ErrUnknownTopic: no live topic has that name.
	ErrUnknownTopic = errors.New("controller: unknown topic")
	// ErrUnknownTopicID: no live topic has that id.
	ErrUnknownTopicID = errors.New("controller: unknown topic id")
	// ErrPartitions: a number of partitions that cannot be.
	ErrPartitions = errors.New("controller: invalid number of partitions")
	// ErrReplicationFactor: a replication factor that cannot be, or not with the brokers there are.
	ErrReplicationFactor = errors.New("controller: invalid replication factor")
	// ErrAssignment: an explicit assignment that contradicts itself or names unknown brokers.
	ErrAssignment = errors.New("controller: invalid replica assignment")
	// ErrRequest: a request that contradicts itself.
	ErrRequest = errors.New("controller: invalid request")
	// ErrConfig: a change of settings that is not one of those a topic.Error reports.
	ErrConfig = errors.New("controller: invalid setting")
)
