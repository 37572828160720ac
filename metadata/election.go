package metadata

import "context"

// Campaign tries to make the broker the controller for as long as its lease lasts. It returns the
// controller epoch, or ErrConflict while another broker is controller.
func (l *Lease) Campaign(ctx context.Context) (epoch int64, err error) { panic("unwritten") }

// Resign gives the controllership up, if epoch is still ours.
func (l *Lease) Resign(ctx context.Context, epoch int64) error { panic("unwritten") }
