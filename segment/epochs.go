package segment

import "errors"

// Epoch says that the batches from offset Start on, up to the next Epoch's, have this leader epoch.
type Epoch struct {
	Epoch int32
	Start int64
}

// Epochs are the leader epochs of the log, rising in both fields. The slice must not be changed.
func (l *Log) Epochs() []Epoch { return nil }

// AssignEpoch starts a leader epoch at the log's end. It is durable on return. An epoch equal to the
// last is no change, a lower one is refused with ErrSequence.
func (l *Log) AssignEpoch(epoch int32) error { return errors.ErrUnsupported }

// EndOffsetFor answers as Kafka's OffsetForLeaderEpoch does: the largest known epoch that is not above
// epoch, and where it ends. It is -1, -1 if epoch is above all known ones or none is known; below all
// known ones it is epoch itself and the first's Start.
func (l *Log) EndOffsetFor(epoch int32) (found int32, end int64) { return -1, -1 }
