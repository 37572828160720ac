package drive

import (
	"context"

	"firn/broker/brokertest/history"
)

// Library is a client library as the driver uses it, for one topic and one group. What it makes does not give up by itself,
// and crashes when the context it was made with ends: what it has under way is cut off, and nobody is told.
type Library interface {
	// Producer makes an idempotent producer with acks=all, with several requests under way where the library allows it.
	Producer(ctx context.Context) (Producer, error)
	// Consumer makes a consumer of all partitions that begins at from, by partition, and takes no other offset for one that is
	// out of range.
	Consumer(ctx context.Context, from []int64) (Consumer, error)
	// Member makes a member of the group. It calls rejoin before it asks for what is committed of the partitions that it was
	// given, and what rejoin returned with the answer, before it reads on from there: history.Unknown is nothing, where it
	// begins at 0.
	Member(ctx context.Context, rejoin func() (begin func(at map[int32]int64))) (Member, error)
	// Name is what history's table calls an error of the library; that of none is "".
	Name(err error) string
}

// Producer is an idempotent producer.
type Producer interface {
	// Send sends a message to a partition behind those that were sent to it before. Done is called once, on any goroutine, with its
	// offset, or with an error after any number of attempts.
	Send(partition int32, m Message, done func(offset int64, err error))
	// Close waits until all that was sent is done, then ends the producer.
	Close()
}

// Record is what a consumer read.
type Record struct {
	Partition int32
	Offset    int64
	Message
}

// Consumer reads partitions.
type Consumer interface {
	// Poll waits for records until ctx ends, and returns at most max of them. An error may come with records and may be one that
	// the consumer gets over; that ctx has ended is none.
	Poll(ctx context.Context, max int) ([]Record, error)
	Close()
}

// Member is a consumer in a group. From a Poll until Release its partitions stay its own.
type Member interface {
	Consumer
	// Commit commits offsets by partition. If retried, an attempt whose outcome is unknown came before that which the error, or
	// none, is of.
	Commit(ctx context.Context, next map[int32]int64) (retried bool, err error)
	Release()
}

// outcome is how an operation ends with an error that history's table knows by name. It may be that of a later attempt.
func outcome(name string, retried bool) history.Op {
	if name == "" {
		return history.Op{Outcome: history.OK}
	}
	return history.Op{Outcome: history.Judge(name).Of(retried), Err: name}
}
