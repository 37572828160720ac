package etcd

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

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

// sentHandler keeps the notes.
type sentHandler struct{}

func (sentHandler) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (sentHandler) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (sentHandler) HandleConn(context.Context, stats.ConnStats)                       {}

func (sentHandler) HandleRPC(ctx context.Context, ev stats.RPCStats) {
	if _, ok := ev.(*stats.OutHeader); !ok {
		return
	}
	if s, ok := ctx.Value(sentKey{}).(*sent); ok {
		s.Store(true)
	}
}
