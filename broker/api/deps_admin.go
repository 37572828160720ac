package api

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/controller"
	"firn/broker/partition"
	"firn/metadata"
	"firn/metadata/topic"
	"firn/segment"
)

// AdminDeps is what the handlers of cluster, topics and settings ask.
type AdminDeps struct {
	// BrokerID is this broker's node.id.
	BrokerID int32
	// Image returns the newest metadata. A request takes it once and resolves everything in it.
	Image func() *metadata.Image
	// Controller carries out changes of topics and settings.
	Controller Controller
	// Forward has another broker open an envelope. Its errors wrap metadata.ErrUnavailable if that has not begun, else
	// metadata.ErrUnknown. It may be nil where there are no others.
	Forward func(ctx context.Context, broker int32, env *kmsg.EnvelopeRequest) (*kmsg.EnvelopeResponse, error)
	// TopicDefaults returns what topics fall back to on this broker by an image.
	TopicDefaults func(*metadata.Image) topic.Defaults
	// BrokerSettings returns every setting of this broker by an image, sorted by name.
	BrokerSettings func(*metadata.Image) []BrokerSetting
	// LogDirs returns what lies in this broker's log directories.
	LogDirs func() []LogDir
	// Producers returns the idempotent producers that a partition remembers, which this broker has
	// to lead.
	Producers func(topic.Partition) ([]partition.Producer, error)

	// AutoCreate makes topics that clients ask for (auto.create.topics.enable).
	AutoCreate bool
	// RefuseDeletion keeps clients from deleting topics (delete.topic.enable=false).
	RefuseDeletion bool
}

// Controller changes topics, settings and who holds them. Its calls return when the change is committed and in this
// broker's image; their errors are those of package controller.
type Controller interface {
	// Current returns which broker is the controller, once that is known; -1 if it has just ceased to be.
	Current(ctx context.Context) (int32, error)
	CreateTopics(ctx context.Context, topics []controller.NewTopic, validateOnly bool) []controller.CreatedTopic
	DeleteTopics(ctx context.Context, ids []topic.ID) []error
	CreatePartitions(ctx context.Context, more []controller.MorePartitions, validateOnly bool) []error
	AlterSettings(ctx context.Context, alter []controller.AlterSettings, validateOnly bool) []error
	Reassign(ctx context.Context, list []controller.Reassignment) []error
	Elect(ctx context.Context, list []controller.Election) []error
	Unregister(ctx context.Context, broker int32) error
}

var _ Controller = (*controller.Controller)(nil)

// BrokerSetting is a broker setting as it is in force.
type BrokerSetting struct {
	Name      string
	Type      topic.Type
	Doc       string
	Sensitive bool // its value is never told
	Dynamic   bool // can be changed at run time
	Value     string
	Null      bool // there is no value, not even a default
	Source    topic.Source
	Chain     []topic.Origin // every place that gives a value, the one in force first
}

// LogDir is one log directory.
type LogDir struct {
	Path string
	// Err is why the directory is out of service.
	Err error
	// Total and Usable are the bytes of its disk, -1 if they cannot be had.
	Total, Usable int64
	Replicas      []StoredReplica
}

// StoredReplica is a replica in a log directory and the bytes it takes there.
type StoredReplica struct {
	Partition topic.Partition
	Size      int64
}

// LogDirsOf returns what lies on disks for AdminDeps.LogDirs.
func LogDirsOf(disks []*segment.Disk, set *partition.Set) []LogDir {
	dirs := make([]LogDir, len(disks))
	at := make(map[*segment.Disk]*LogDir, len(disks))
	for i, d := range disks {
		dirs[i] = LogDir{Path: d.Dir(), Err: d.Offline(), Total: -1, Usable: -1}
		if u, err := d.Usage(); err == nil {
			dirs[i].Total, dirs[i].Usable = u.Total, u.Free
		}
		at[d] = &dirs[i]
	}
	for r := range set.All() {
		if d := at[r.Disk()]; d != nil {
			d.Replicas = append(d.Replicas, StoredReplica{Partition: r.Partition(), Size: r.Size()})
		}
	}
	return dirs
}

// ProducersOf returns a partition's producers for AdminDeps.Producers.
func ProducersOf(set *partition.Set, tp topic.Partition) ([]partition.Producer, error) {
	r := set.Get(tp)
	if r == nil {
		return nil, partition.ErrNotLeader
	}
	if err := r.Err(); err != nil {
		return nil, err
	}
	if _, _, leads := r.LeaderEpoch(); !leads {
		return nil, partition.ErrNotLeader
	}
	return r.Producers(), nil
}

func init() {
	mapErrors(controller.ErrNotController, kerr.NotController)
	mapErrors(controller.ErrTopicExists, kerr.TopicAlreadyExists)
	mapErrors(controller.ErrTopicNameCollision, kerr.InvalidTopicException)
	mapErrors(controller.ErrUnknownTopic, kerr.UnknownTopicOrPartition)
	mapErrors(controller.ErrUnknownTopicID, kerr.UnknownTopicID)
	mapErrors(controller.ErrPartitions, kerr.InvalidPartitions)
	mapErrors(controller.ErrReplicationFactor, kerr.InvalidReplicationFactor)
	mapErrors(controller.ErrAssignment, kerr.InvalidReplicaAssignment)
	mapErrors(controller.ErrNoReassignment, kerr.NoReassignmentInProgress)
	mapErrors(controller.ErrElectionNotNeeded, kerr.ElectionNotNeeded)
	mapErrors(controller.ErrPreferredLeader, kerr.PreferredLeaderNotAvailable)
	mapErrors(controller.ErrEligibleLeaders, kerr.EligibleLeadersNotAvailable)
	mapErrors(controller.ErrUnknownBroker, kerr.BrokerIDNotRegistered)
	mapErrors(controller.ErrRequest, kerr.InvalidRequest)
	mapErrors(controller.ErrConfig, kerr.InvalidConfig)
	mapErrors(topic.ErrName, kerr.InvalidTopicException)

	mapErrors(metadata.ErrNotFound, kerr.UnknownTopicOrPartition)
	mapErrors(metadata.ErrTopicGone, kerr.UnknownTopicOrPartition)
	mapErrors(metadata.ErrFenced, kerr.NotController)
	mapErrors(metadata.ErrTooLarge, kerr.InvalidRequest)
	mapErrors(metadata.ErrNoSpace, kerr.PolicyViolation)
	// The client may try again: either nothing was written, or what was shows in what it finds.
	mapErrors(metadata.ErrConflict, kerr.RequestTimedOut)
	mapErrors(metadata.ErrUnknown, kerr.RequestTimedOut)
	mapErrors(metadata.ErrUnavailable, kerr.RequestTimedOut)
	mapErrors(metadata.ErrClosed, kerr.RequestTimedOut)
}

const (
	// defaultAdminTimeout is for requests that carry no timeout of their own.
	defaultAdminTimeout = 30 * time.Second
	// minAdminTimeout and maxAdminTimeout bound those that do: 0 means "do not wait" to some
	// clients, who nevertheless expect the change to be made.
	minAdminTimeout = time.Second
	maxAdminTimeout = 5 * time.Minute
)

// adminContext bounds a change by the request's timeout. It does not end with the connection: what
// was asked for is carried out although nobody waits for the answer any more.
func adminContext(timeoutMillis int32) (context.Context, context.CancelFunc) {
	d := time.Duration(timeoutMillis) * time.Millisecond
	return context.WithTimeout(context.Background(), min(max(d, minAdminTimeout), maxAdminTimeout))
}

// refusal is a request's own fault, which its answer puts in words.
func refusal(kafka *kerr.Error, text string) error { return &refused{kafka, text} }

type refused struct {
	kafka *kerr.Error
	text  string
}

func (r *refused) Error() string { return r.text }
func (r *refused) Unwrap() error { return r.kafka }

// maxMessage bounds a message in bytes. It may quote what the client has sent, and strings of the old versions end at 32 KiB.
const maxMessage = 4 << 10

// outcome returns the code and message for the outcome of one thing that was asked for.
func (a *API) outcome(err error, doing string, name string) (int16, *string) {
	if err == nil {
		return 0, nil
	}
	ke := kafkaError(err)
	text := strings.ReplaceAll(err.Error(), "\n", "; ") // several errors are one message
	if errors.Is(ke, kerr.UnknownServerError) {
		a.log.Error("request failed", "doing", doing, "name", name, "error", err)
		text = ke.Description
	}
	if len(text) > maxMessage {
		text = strings.ToValidUTF8(text[:maxMessage], "") // no half characters
	}
	return ke.Code, &text
}
