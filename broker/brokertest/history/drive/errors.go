package drive

import (
	"context"
	"errors"
	"io"
	"net"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"firn/broker/brokertest/history"
)

// maxName bounds the text of an error that has no name.
const maxName = 120

// name is what history's table calls an error of the client.
func name(err error) string {
	var broker *kerr.Error
	var loss *kgo.ErrDataLoss
	var network *net.OpError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &broker):
		return broker.Message
	case errors.As(err, &loss):
		return "data loss"
	case errors.Is(err, kgo.ErrClientClosed), errors.Is(err, context.Canceled), errors.Is(err, net.ErrClosed):
		return "closed"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, kgo.ErrRecordTimeout):
		return "timeout"
	case errors.Is(err, kgo.ErrMaxBuffered):
		return "buffer full"
	case errors.As(err, &network) && network.Op == "dial":
		return "dial"
	case errors.As(err, &network), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "disconnect"
	}
	text := err.Error()
	return text[:min(len(text), maxName)]
}

// outcome is how an operation ends with an error that may be that of a later attempt at it.
func outcome(err error, retried bool) history.Op {
	if err == nil {
		return history.Op{Outcome: history.OK}
	}
	n := name(err)
	return history.Op{Outcome: history.Judge(n).Of(retried), Err: n}
}
