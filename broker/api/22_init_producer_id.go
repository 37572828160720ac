package api

import (
	"context"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/wire"
)

// InitProducerID (key 22), versions 0-5.
//
// Gives an idempotent producer an id that nobody else ever gets, and epoch 0, out of a block reserved in the metadata;
// the next block is reserved in the background while half of one is left. A producer without a transactional id always
// gets a new one, also if it says (v3) that it has one; an id without an epoch, or the reverse, is INVALID_REQUEST.
//
// Left out: transactions. A transactional id is refused with TRANSACTIONAL_ID_AUTHORIZATION_FAILED, which no client
// tries again; an empty one is INVALID_REQUEST.
func init() { registerBlocking(kmsg.InitProducerID, 0, 5, (*API).initProducerID) }

func (a *API) initProducerID(req *wire.Request, body *kmsg.InitProducerIDRequest) {
	resp := kmsg.NewPtrInitProducerIDResponse()
	resp.ProducerID, resp.ProducerEpoch = -1, -1
	switch {
	case body.TransactionalID != nil && *body.TransactionalID == "":
		resp.ErrorCode = kerr.InvalidRequest.Code
	case body.TransactionalID != nil:
		resp.ErrorCode = kerr.TransactionalIDAuthorizationFailed.Code
	case body.Version >= 3 && (body.ProducerID == -1) != (body.ProducerEpoch == -1):
		resp.ErrorCode = kerr.InvalidRequest.Code
	default:
		ctx, cancel := context.WithTimeout(req.Conn.Context, producerIDTimeout)
		defer cancel()
		id, err := a.data.ids.next(ctx)
		if err != nil {
			a.log.Warn("no producer id to be had", "error", err)
			resp.ErrorCode = kerr.CoordinatorLoadInProgress.Code // every client tries again
		} else {
			resp.ProducerID, resp.ProducerEpoch = id, 0
		}
	}
	req.Reply(resp)
}

// producerIDTimeout is how long a producer waits for a block; clients ask again for longer than that.
const producerIDTimeout = 10 * time.Second

// producerIDs gives out single ids from blocks. Safe for concurrent use.
type producerIDs struct {
	source ProducerIDs

	mu         sync.Mutex
	now, later idBlock
	size       int64         // of the last block
	fetching   chan struct{} // closed when the fetch under way has ended
	err        error         // of the last fetch
}

// idBlock is the ids [next, end).
type idBlock struct{ next, end int64 }

// next returns an id, waiting for a block if there is none.
func (p *producerIDs) next(ctx context.Context) (int64, error) {
	for tried := false; ; tried = true {
		p.mu.Lock()
		if p.now.next == p.now.end {
			p.now, p.later = p.later, idBlock{}
		}
		left := p.now.end - p.now.next
		if left > 0 {
			id := p.now.next
			p.now.next++
			if left <= p.size/2 && p.later == (idBlock{}) {
				p.fetchLocked()
			}
			p.mu.Unlock()
			return id, nil
		}
		if err := p.err; err != nil && tried && p.fetching == nil {
			p.mu.Unlock()
			return -1, err
		}
		done := p.fetchLocked()
		p.mu.Unlock()
		select {
		case <-done:
		case <-ctx.Done():
			return -1, ctx.Err()
		}
	}
}

// fetchLocked begins to fetch a block, unless that is under way.
func (p *producerIDs) fetchLocked() <-chan struct{} {
	if p.fetching != nil {
		return p.fetching
	}
	done := make(chan struct{})
	p.fetching = done
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), producerIDTimeout)
		defer cancel()
		first, count, err := p.source.NextProducerIDs(ctx)
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.err = err; err == nil {
			p.later, p.size = idBlock{first, first + count}, count
		}
		p.fetching = nil
		close(done)
	}()
	return done
}
