package broker

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/wire"
	"firn/metadata"
)

// forwardDialTimeout bounds the connecting to a controller that may be gone: by then there is another.
const forwardDialTimeout = 3 * time.Second

// forward has another broker open an envelope, as api.AdminDeps asks for it. Such requests are rare, so each has a
// connection of its own: that of an earlier one could have died since, which would leave open what became of this one.
func (b *Broker) forward(ctx context.Context, to int32, env *kmsg.EnvelopeRequest) (*kmsg.EnvelopeResponse, error) {
	ctx, giveUp := context.WithCancel(ctx)
	defer giveUp()
	defer b.whenSuperseded(to, giveUp)()
	dial, cancel := context.WithTimeout(ctx, forwardDialTimeout)
	defer cancel()
	conn, err := b.dialBroker(dial, to)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", metadata.ErrUnavailable, err)
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	resp, err := wire.Call(conn, fmt.Sprintf("firn-broker-%d", b.cfg.NodeID), env)
	if err != nil {
		return nil, fmt.Errorf("%w: broker %d: %w", metadata.ErrUnknown, to, err)
	}
	return resp.(*kmsg.EnvelopeResponse), nil
}

// supersededGrace is how long a controller that another has followed may still take to answer. One that is well says at once how a
// change has ended, or that it is the controller no more; one that is frozen would hold up the changes that wait for a place, too.
const supersededGrace = time.Second

// whenSuperseded calls fn, perhaps more than once, when another broker than id has been the controller for a
// while, until stop is called.
func (b *Broker) whenSuperseded(id int32, fn func()) (stop func()) {
	var grace *time.Timer
	unsubscribe := b.store.Subscribe(func(_, im *metadata.Image) {
		switch now := im.Controller().ID; {
		case now >= 0 && now != id && grace == nil:
			grace = time.AfterFunc(supersededGrace, fn)
		case now == id && grace != nil:
			grace.Stop()
			grace = nil
		}
	})
	return func() {
		unsubscribe()
		if grace != nil {
			grace.Stop()
		}
	}
}
