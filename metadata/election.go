package metadata

import (
	"context"
	"errors"
	"fmt"
)

// Campaign tries to make the broker the controller for as long as its present registration lasts. It returns
// the controller epoch, or ErrConflict while another broker is controller, or ErrFenced if the registration
// has ended. A broker that is controller already gets the same epoch again.
func (l *Lease) Campaign(ctx context.Context) (epoch int64, err error) {
	l.mu.Lock()
	lease, broker := l.mu.lease, l.epoch.Load()
	l.mu.Unlock()
	ctl, b := l.store.keys.Controller(), l.store.keys.Broker(l.reg.ID)
	txn := Txn{
		If:   []Cmp{Absent(ctl), CreatedAt(b, broker)},
		Then: []Op{PutLeased(ctl, encodeController(ControllerState{ID: l.reg.ID, BrokerEpoch: broker}), lease)},
		Else: []string{ctl, b},
	}
	res, err := Settle(ctx, l.store.kv, txn)
	switch {
	case errors.Is(err, ErrLeaseNotFound):
		return 0, fmt.Errorf("campaign: %w", ErrFenced)
	case err != nil:
		return 0, fmt.Errorf("campaign: %w", err)
	case res.OK:
		return res.Rev, nil
	case res.Else[1].CreateRev != broker:
		return 0, fmt.Errorf("campaign: broker %d epoch %d: %w", l.reg.ID, broker, ErrFenced)
	case !res.Else[0].Exists():
		return 0, ErrConflict // gone since
	}
	holder, err := decodeController(res.Else[0])
	if err != nil {
		return 0, err
	}
	if holder.ID == l.reg.ID && holder.BrokerEpoch == broker {
		return holder.Epoch, nil
	}
	return 0, ErrConflict
}
