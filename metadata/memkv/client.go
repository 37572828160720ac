package memkv

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"firn/metadata"
)

// Call is one request of a client, as a fault function sees it.
type Call struct {
	Name  string   // get, range, txn, grant, keepalive or revoke
	Write bool     // may change something
	Keys  []string // keys it would write, or reads
}

// Fault is what happens to a call. The zero Fault is none.
type Fault struct {
	// Delay passes before the request arrives, and ReplyDelay before its reply does. If the caller gives
	// up in between, the request is lost, or its effect stays unseen.
	Delay, ReplyDelay time.Duration
	// Refuse fails the call before it is sent: ErrUnavailable.
	Refuse bool
	// LoseRequest and LoseReply leave the caller without an answer: ErrUnknown for a write.
	LoseRequest, LoseReply bool
	// Late applies a lost request after this time, when its caller has long been told that its outcome
	// is unknown.
	Late time.Duration
	// Err is returned instead of running the call.
	Err error
}

// Client is one connection to a Server.
type Client struct {
	server *Server
	ctx    context.Context // ends with Close
	close  context.CancelFunc
	late   sync.WaitGroup

	mu struct {
		sync.Mutex
		faults func(Call) Fault
		broken chan struct{} // closed and replaced to break all watches
		cut    bool
		closed bool
	}
}

var _ metadata.KV = (*Client)(nil)

// New returns a client of a server of its own.
func New() *Client { return NewServer().Dial() }

// Dial returns a new client of the server.
func (s *Server) Dial() *Client {
	c := &Client{server: s}
	c.ctx, c.close = context.WithCancel(context.Background())
	c.mu.broken = make(chan struct{})
	return c
}

// Server returns the server the client talks to.
func (c *Client) Server() *Server { return c.server }

// SetFaults makes fn decide what happens to each later call; nil means nothing does. fn may be called from
// several goroutines at once.
func (c *Client) SetFaults(fn func(Call) Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.faults = fn
}

// BreakWatches ends all watches of the client with ErrUnavailable.
func (c *Client) BreakWatches() {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.mu.broken)
	c.mu.broken = make(chan struct{})
}

// Cut takes the client off the server or back on: while off, calls are refused and watches broken.
func (c *Client) Cut(off bool) {
	c.mu.Lock()
	c.mu.cut = off
	c.mu.Unlock()
	if off {
		c.BreakWatches()
	}
}

func (c *Client) fault(call Call) Fault {
	c.mu.Lock()
	fn, cut := c.mu.faults, c.mu.cut
	c.mu.Unlock()
	if cut {
		return Fault{Refuse: true}
	}
	if fn == nil {
		return Fault{}
	}
	return fn(call)
}

// do runs a call under its fault.
func (c *Client) do(ctx context.Context, call Call, run func() error) error {
	if c.ctx.Err() != nil {
		return metadata.ErrClosed
	}
	lost := metadata.ErrUnavailable
	if call.Write {
		lost = metadata.ErrUnknown
	}
	f := c.fault(call)
	if ctx.Err() != nil || f.Refuse {
		return fmt.Errorf("%s: %w", call.Name, metadata.ErrUnavailable)
	}
	if f.Err != nil {
		return fmt.Errorf("%s: %w", call.Name, f.Err)
	}
	if !pass(ctx, f.Delay) {
		return fmt.Errorf("%s: %w", call.Name, lost)
	}
	if f.LoseRequest {
		return fmt.Errorf("%s: request lost: %w", call.Name, lost)
	}
	if f.Late > 0 {
		c.background(func() {
			if pass(c.ctx, f.Late) {
				_ = run()
			}
		})
		return fmt.Errorf("%s: request late: %w", call.Name, lost)
	}
	err := run()
	if !pass(ctx, f.ReplyDelay) || f.LoseReply {
		return fmt.Errorf("%s: reply lost: %w", call.Name, lost)
	}
	return err
}

// pass waits for d and reports whether ctx is still alive.
func pass(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// background runs fn in a goroutine that Close waits for, unless the client is closed.
func (c *Client) background(fn func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.mu.closed {
		c.late.Go(fn)
	}
	return !c.mu.closed
}

// Get implements metadata.KV.
func (c *Client) Get(ctx context.Context, keys ...string) (out []metadata.Entry, rev int64, err error) {
	var got []metadata.Entry
	var at int64
	err = c.do(ctx, Call{Name: "get", Keys: keys}, func() error {
		got, at = c.server.get(keys)
		return nil
	})
	if err != nil {
		return nil, 0, err
	}
	return got, at, nil
}

// Range implements metadata.KV.
func (c *Client) Range(ctx context.Context, start, end string, rev int64, limit int) (metadata.Page, error) {
	var page metadata.Page
	err := c.do(ctx, Call{Name: "range", Keys: []string{start, end}}, func() (err error) {
		page, err = c.server.list(start, end, rev, limit)
		return err
	})
	if err != nil {
		return metadata.Page{}, err
	}
	return page, nil
}

// Txn implements metadata.KV.
func (c *Client) Txn(ctx context.Context, txn metadata.Txn) (metadata.TxnResult, error) {
	if err := txn.Check(); err != nil {
		return metadata.TxnResult{}, err
	}
	results, err := c.run(ctx, []metadata.Txn{txn})
	if err != nil {
		return metadata.TxnResult{}, err
	}
	return results[0], nil
}

// TxnMany implements metadata.KV.
func (c *Client) TxnMany(ctx context.Context, txns []metadata.Txn) ([]metadata.TxnResult, error) {
	if err := metadata.CheckMany(txns); err != nil {
		return nil, err
	}
	out := make([]metadata.TxnResult, 0, len(txns))
	for len(txns) > 0 {
		n := min(len(txns), 100)
		results, err := c.run(ctx, txns[:n])
		if err != nil {
			return append(out, make([]metadata.TxnResult, len(txns))...), err
		}
		out = append(out, results...)
		txns = txns[n:]
	}
	return out, nil
}

func (c *Client) run(ctx context.Context, txns []metadata.Txn) ([]metadata.TxnResult, error) {
	call := Call{Name: "txn", Write: true}
	for _, t := range txns {
		for _, op := range t.Then {
			call.Keys = append(call.Keys, op.Key)
		}
	}
	done := make(chan []metadata.TxnResult, 1) // a late run's results go nowhere
	err := c.do(ctx, call, func() error {
		results, err := c.server.txns(txns)
		done <- results
		return err
	})
	if err != nil {
		return nil, err
	}
	return <-done, nil
}

// Watch implements metadata.KV.
func (c *Client) Watch(ctx context.Context, start, end string, rev int64) <-chan metadata.WatchBatch {
	out := make(chan metadata.WatchBatch)
	c.mu.Lock()
	broken, cut := c.mu.broken, c.mu.cut
	c.mu.Unlock()
	run := func() {
		defer close(out)
		send := func(b metadata.WatchBatch) bool {
			select {
			case out <- b:
				return true
			case <-ctx.Done():
			case <-c.ctx.Done():
			}
			return false
		}
		if cut {
			send(metadata.WatchBatch{Err: metadata.ErrUnavailable})
			return
		}
		next := rev
		for {
			batches, newest, grown, err := c.server.since(next)
			if err != nil {
				send(metadata.WatchBatch{Err: err})
				return
			}
			for _, b := range batches {
				if b = narrow(b, start, end); len(b.Events) > 0 && !send(b) {
					return
				}
			}
			next = max(next, newest+1)
			select {
			case <-grown:
			case <-broken:
				send(metadata.WatchBatch{Err: metadata.ErrUnavailable})
				return
			case <-ctx.Done():
				return
			case <-c.ctx.Done():
				return
			}
		}
	}
	if !c.background(run) {
		close(out)
	}
	return out
}

// narrow leaves only the events of keys in [start, end) in a batch.
func narrow(b metadata.WatchBatch, start, end string) metadata.WatchBatch {
	var events []metadata.Event
	for _, ev := range b.Events {
		if ev.Key >= start && (end == "\x00" || ev.Key < end) {
			ev.Value = slices.Clone(ev.Value)
			events = append(events, ev)
		}
	}
	b.Events = events
	return b
}

// Grant implements metadata.KV.
func (c *Client) Grant(ctx context.Context, ttl time.Duration) (metadata.LeaseID, time.Duration, error) {
	done := make(chan metadata.LeaseID, 1)
	err := c.do(ctx, Call{Name: "grant", Write: true}, func() error {
		done <- c.server.grant(ttl)
		return nil
	})
	if err != nil {
		return 0, 0, err
	}
	return <-done, ttl, nil
}

// KeepAlive implements metadata.KV.
func (c *Client) KeepAlive(ctx context.Context, id metadata.LeaseID) (time.Duration, error) {
	done := make(chan time.Duration, 1)
	err := c.do(ctx, Call{Name: "keepalive"}, func() error {
		ttl, err := c.server.keepAlive(id)
		done <- ttl
		return err
	})
	if err != nil {
		return 0, err
	}
	return <-done, nil
}

// Revoke implements metadata.KV.
func (c *Client) Revoke(ctx context.Context, id metadata.LeaseID) error {
	return c.do(ctx, Call{Name: "revoke", Write: true}, func() error { return c.server.revoke(id) })
}

// Close implements metadata.KV. It waits for watches to end and for late requests to be dropped.
func (c *Client) Close() error {
	c.mu.Lock()
	c.mu.closed = true
	c.mu.Unlock()
	c.close()
	c.late.Wait()
	return nil
}
