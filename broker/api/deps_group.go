package api

import (
	"errors"

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
	// The only answers to Heartbeat after which every client asks again are this one and NOT_COORDINATOR.
	mapErrors(coordinator.ErrBusy, kerr.CoordinatorNotAvailable)
	mapErrors(coordinator.ErrUnavailable, kerr.CoordinatorNotAvailable)
	mapErrors(coordinator.ErrTooLarge, kerr.InvalidCommitOffsetSize)
}

// unsureCode is code for JoinGroup and OffsetFetch. Of a coordinator that cannot answer for now, which it will or another
// instead, COORDINATOR_LOAD_IN_PROGRESS is what every client asks again after; it hears NOT_COORDINATOR in the other case.
func unsureCode(err error) int16 {
	if err == nil || errors.Is(err, coordinator.ErrNotCoordinator) {
		return code(err)
	}
	return kerr.CoordinatorLoadInProgress.Code
}

// groupOperations is what a principal that may do everything may do with a group: read, delete and
// describe, as Kafka's bit field.
const groupOperations = 1<<3 | 1<<6 | 1<<8
