package api

import (
	"github.com/twmb/franz-go/pkg/kerr"

	"firn/broker/coordinator"
	"firn/broker/group"
	"firn/metadata"
)

// GroupDeps is what the handlers of groups ask.
type GroupDeps struct {
	Coordinator *group.Coordinator
	// Image returns the newest metadata.
	Image func() *metadata.Image
}

func init() {
	mapErrors(coordinator.ErrNotCoordinator, kerr.NotCoordinator)
	mapErrors(coordinator.ErrLoading, kerr.CoordinatorLoadInProgress)
	// The only answers to Heartbeat and SyncGroup after which every client asks again are this one and NOT_COORDINATOR.
	mapErrors(coordinator.ErrBusy, kerr.CoordinatorNotAvailable)
	mapErrors(coordinator.ErrUnavailable, kerr.CoordinatorNotAvailable)
	mapErrors(coordinator.ErrTooLarge, kerr.InvalidCommitOffsetSize)
}

// groupOperations is what a principal that may do everything may do with a group: read, delete and
// describe, as Kafka's bit field.
const groupOperations = 1<<3 | 1<<6 | 1<<8
