package etcd

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"firn/metadata"
)

// rejections are errors that a server gives instead of proposing a request, so that it had no effect.
var rejections = []struct{ server, ours error }{
	{rpctypes.ErrCompacted, metadata.ErrCompacted},
	{rpctypes.ErrFutureRev, metadata.ErrUnavailable}, // a member that lags behind
	{rpctypes.ErrNoSpace, metadata.ErrNoSpace},
	{rpctypes.ErrRequestTooLarge, metadata.ErrTooLarge},
	{rpctypes.ErrTooManyOps, metadata.ErrTooLarge},
	{rpctypes.ErrDuplicateKey, metadata.ErrInvalidTxn},
	{rpctypes.ErrEmptyKey, metadata.ErrInvalidTxn},
	{rpctypes.ErrLeaseNotFound, metadata.ErrLeaseNotFound},
	{rpctypes.ErrTooManyRequests, metadata.ErrUnavailable},
	{rpctypes.ErrNoLeader, metadata.ErrUnavailable},
	{rpctypes.ErrPermissionDenied, metadata.ErrRefused},
	{rpctypes.ErrAuthFailed, metadata.ErrRefused},
	{rpctypes.ErrUserEmpty, metadata.ErrRefused},
	{rpctypes.ErrUserNotFound, metadata.ErrRefused},
	{rpctypes.ErrInvalidAuthToken, metadata.ErrUnavailable}, // the client has another one next time
	{rpctypes.ErrAuthOldRevision, metadata.ErrUnavailable},
}

// classify turns an error of the client into one of metadata's. maybe says that the call was a write which
// may have reached a server.
func classify(err error, maybe bool) error {
	if err == nil {
		return nil
	}
	typed := rpctypes.Error(err)
	for _, r := range rejections {
		if errors.Is(typed, r.server) {
			return fmt.Errorf("%w: %w", r.ours, err)
		}
	}
	if maybe {
		return fmt.Errorf("%w: %w", metadata.ErrUnknown, err)
	}
	if code := status.Code(err); code == codes.Unauthenticated || code == codes.PermissionDenied {
		return fmt.Errorf("%w: %w", metadata.ErrRefused, err)
	}
	return fmt.Errorf("%w: %w", metadata.ErrUnavailable, err)
}

// sent notes whether a call's bytes were handed to a connection. Before that nothing can have happened, which
// turns most of an outage's unknown outcomes into known ones.
type sent struct{ atomic.Bool }

type sentKey struct{}

// watchSent returns a context for one call and the note on it.
func watchSent(ctx context.Context) (context.Context, *sent) {
	s := &sent{}
	return context.WithValue(ctx, sentKey{}, s), s
}

type endKey struct{}

// onStreamEnd returns a context for a watch that tells fn when its stream ends, and by which error.
func onStreamEnd(ctx context.Context, fn func(error)) context.Context {
	return context.WithValue(ctx, endKey{}, fn)
}

// callHandler keeps the notes and tells of ends.
type callHandler struct{}

func (callHandler) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (callHandler) HandleConn(context.Context, stats.ConnStats)                       {}

// TagRPC keeps what is said of a watch to its stream: before that the client logs in, by a call with the same context.
func (callHandler) TagRPC(ctx context.Context, call *stats.RPCTagInfo) context.Context {
	if call.FullMethodName != pb.Watch_Watch_FullMethodName && ctx.Value(endKey{}) != nil {
		return context.WithValue(ctx, endKey{}, nil)
	}
	return ctx
}

func (callHandler) HandleRPC(ctx context.Context, ev stats.RPCStats) {
	switch ev := ev.(type) {
	case *stats.OutHeader:
		if s, ok := ctx.Value(sentKey{}).(*sent); ok {
			s.Store(true)
		}
	case *stats.End:
		if fn, ok := ctx.Value(endKey{}).(func(error)); ok {
			fn(ev.Error)
		}
	}
}
