// Package controller decides what the cluster should look like: which broker leads which partition, where
// replicas go, how topics are made, grown, configured and deleted, and who owns which coordinator shard.
//
// Every broker runs a Controller; the one that holds the ctl key acts and the others stand by with a warm
// image. Decisions are pure functions of an image (plan*.go, place.go); the Controller feeds them events and
// commits what they say in guarded, batched transactions, from one goroutine. Here does not belong what the
// facts look like in the key space (metadata), nor carrying them out on a broker (broker).
package controller

import (
	"context"
	"errors"
	"log/slog"

	"firn/metadata"
	"firn/metadata/topic"

	"github.com/prometheus/client_golang/prometheus"
)

// Answers of the verbs, beside topic.Error for settings and metadata's outcomes (ErrUnknown, ErrUnavailable,
// ErrNoSpace).
var (
	ErrNotController      = errors.New("controller: not the controller")
	ErrTopicExists        = errors.New("controller: topic exists")
	ErrTopicNameCollision = errors.New("controller: topic name collides with another where '.' and '_' are the same")
	ErrInvalidName        = errors.New("controller: invalid topic name")
	ErrUnknownTopic       = errors.New("controller: unknown topic")
	ErrUnknownTopicID     = errors.New("controller: unknown topic id")
	ErrUnknownBroker      = errors.New("controller: unknown broker")
	ErrPartitions         = errors.New("controller: invalid number of partitions")
	ErrReplicationFactor  = errors.New("controller: invalid replication factor")
	ErrAssignment         = errors.New("controller: invalid replica assignment")
	ErrRequest            = errors.New("controller: invalid request")
	ErrConfig             = errors.New("controller: invalid setting")
)

// Options configures a Controller.
type Options struct {
	Store *metadata.Store
	Lease *metadata.Lease
	// Static returns the broker's own settings (flags, environment, file), which topic settings fall
	// back to, and whether the cluster has object storage.
	Defaults topic.Defaults
	// NumPartitions and ReplicationFactor are for topics that do not say. Default 1.
	NumPartitions     int32
	ReplicationFactor int16
	// CheckBrokerSettings validates run-time broker settings as a whole after a change: those of one
	// broker, or of all if id is -1.
	CheckBrokerSettings func(id int32, overrides map[string]string) error
	Logger              *slog.Logger
	Registerer          prometheus.Registerer
}

// Controller runs elections and topic changes while its broker is the controller. The verbs may be called
// from any goroutine; they return when the change is committed and in the store's image.
type Controller struct{}

// New returns a controller that does nothing before Run.
func New(opts Options) (*Controller, error) { panic("unwritten") }

// Run campaigns, and acts while elected, until ctx ends.
func (c *Controller) Run(ctx context.Context) error { panic("unwritten") }

// Active reports whether this broker is the controller, as far as it knows.
func (c *Controller) Active() bool { panic("unwritten") }

// NewTopic is a topic to create.
type NewTopic struct {
	Name              string
	Partitions        int32             // -1: default
	ReplicationFactor int16             // -1: default
	Assignment        map[int32][]int32 // partition -> replicas, preferred leader first; excludes the two above
	Settings          map[string]string
}

// CreatedTopic is the outcome of one NewTopic.
type CreatedTopic struct {
	Topic    metadata.Topic // also for validate-only, then without ID
	Settings map[string]string
	Err      error
}

// CreateTopics creates topics, each atomically; one that fails does not hinder the others. Outcomes come in
// the order of topics. With validateOnly everything is checked and nothing written.
func (c *Controller) CreateTopics(ctx context.Context, topics []NewTopic, validateOnly bool) []CreatedTopic {
	panic("unwritten")
}

// DeleteTopics deletes topics by id; one error (or nil) per id.
func (c *Controller) DeleteTopics(ctx context.Context, ids []topic.ID) []error { panic("unwritten") }

// MorePartitions grows a topic to Total partitions.
type MorePartitions struct {
	Name       string
	Total      int32
	Assignment [][]int32 // of the new partitions, in order; nil: placed by the controller
}

// CreatePartitions grows topics; one error (or nil) per entry.
func (c *Controller) CreatePartitions(ctx context.Context, more []MorePartitions, validateOnly bool) []error {
	panic("unwritten")
}

// SettingOp is what AlterSettings does with one setting.
type SettingOp int8

// The operations; the numbers are those of IncrementalAlterConfigs.
const (
	SettingSet      SettingOp = 0
	SettingDelete   SettingOp = 1
	SettingAppend   SettingOp = 2
	SettingSubtract SettingOp = 3
)

// SettingChange is one change to a setting.
type SettingChange struct {
	Name  string
	Op    SettingOp
	Value string
}

// AlterSettings changes the settings of one topic or broker.
type AlterSettings struct {
	Topic  string // a topic's name, or empty for a broker
	Broker int32  // a broker's id, or -1 for all brokers
	// Changes are applied to the present settings, or, if Replace is set, to none (every change is
	// then a SettingSet).
	Changes []SettingChange
	Replace bool
}

// AlterSettings changes settings; one error (or nil) per entry.
func (c *Controller) AlterSettings(ctx context.Context, alter []AlterSettings, validateOnly bool) []error {
	panic("unwritten")
}
