package metadata

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Registration is what a broker says of itself when it registers.
type Registration struct {
	ID        int32
	Listeners []Listener
	Rack      string
	Version   string
	// BootID names the run of the kernel: with another one the page cache was lost. Empty if unknown,
	// which counts as another one.
	BootID string
	// Relaxed says that, unless a topic or settings of run time say otherwise, what this broker appends is acknowledged before
	// its disk has it.
	Relaxed bool
	// Disks is kept by Register, and by the Lease, which note in it what the disks are told.
	Disks []DiskFacts
}

// DiskFacts is what a broker found on one of its disks. The broker holds the disk's directory lock.
type DiskFacts struct {
	ID    UUID
	Epoch int64 // the broker epoch its meta file holds; 0 for a new disk
	Clean bool  // its CLEAN mark stands: everything reached the disk before the last stop
	// Failed says that an earlier run ended its use for an error of it, after which the page cache cannot be trusted: that
	// counts as another boot.
	Failed bool
}

func (r *Registration) diskIDs() []UUID {
	ids := make([]UUID, len(r.Disks))
	for i, d := range r.Disks {
		ids[i] = d.ID
	}
	return ids
}

// lossOf says what a broker with these disks may have lost since the registration that node remembers.
func lossOf(node *Node, reg *Registration) Loss {
	if node == nil || node.LastEpoch == 0 {
		return LossNone // it never could append
	}
	here := make(map[UUID]DiskFacts, len(reg.Disks))
	for _, d := range reg.Disks {
		here[d.ID] = d
	}
	clean, failed := true, false
	for _, id := range node.Disks {
		d, ok := here[id]
		if !ok || d.Epoch < node.LastEpoch {
			return LossAll // replaced, or an old copy
		}
		clean, failed = clean && d.Clean, failed || d.Failed
	}
	if failed || !clean && (reg.BootID == "" || reg.BootID != node.BootID) {
		return LossRelaxed
	}
	return LossNone
}

// sharesDisk reports whether two lists have a disk in common.
func sharesDisk(a, b []UUID) bool {
	return slices.ContainsFunc(a, func(id UUID) bool { return slices.Contains(b, id) })
}

// checkDisks refuses disks that another broker has on record.
func (s *Store) checkDisks(reg *Registration) error {
	for _, n := range s.Image().Nodes() {
		if n.ID != reg.ID && n.State != NodeGone && sharesDisk(n.Disks, reg.diskIDs()) {
			return fmt.Errorf("register broker %d: a disk of it is on record as broker %d's: %w", reg.ID, n.ID, ErrForeignDisk)
		}
	}
	return nil
}

// registered is a registration that holds.
type registered struct {
	lease LeaseID
	ttl   time.Duration
	sent  time.Duration // boot time at which the lease was asked for or renewed last
	epoch int64
	node  *Node
}

// register makes one registration: it clears an earlier life of the broker away or waits for another broker
// to go, grants a lease and writes b and n in one transaction.
func (l *Lease) register(ctx context.Context) (registered, error) {
	kv, keys, reg := l.opts.KV, l.store.keys, &l.reg
	if err := l.store.checkDisks(reg); err != nil {
		return registered{}, err
	}
	node, err := l.clearWay(ctx)
	if err != nil {
		return registered{}, err
	}
	r := registered{sent: l.opts.Clock()}
	if r.lease, r.ttl, err = kv.Grant(ctx, l.opts.TTL); err != nil {
		return registered{}, fmt.Errorf("register broker %d: grant lease: %w", reg.ID, err)
	}
	b, n := keys.Broker(reg.ID), keys.Node(reg.ID)
	next := &Node{ID: reg.ID, BootID: reg.BootID, Rack: reg.Rack, Disks: reg.diskIDs(), Loss: lossOf(node, reg), Relaxed: reg.Relaxed}
	guard := ModIs(n, 0)
	if node != nil {
		guard.Rev = node.Rev
		next.LastEpoch, next.Loss, next.extra = node.LastEpoch, max(next.Loss, node.Loss), node.extra
		next.Relaxed = next.Relaxed || next.Loss != LossNone && node.Relaxed
		// Who has left for good may stop whenever it likes, and must not be given anything before it is started anew.
		if node.State == NodeDraining || node.State == NodeGone && l.epoch.Load() != 0 {
			next.State = node.State
		}
	}
	res, err := Settle(ctx, kv, Txn{
		If: []Cmp{Absent(b), guard},
		Then: []Op{
			PutLeased(b, encodeBroker(&Broker{
				Incarnation: l.incarnation, Listeners: reg.Listeners, Rack: reg.Rack, Version: reg.Version,
				Disks: reg.diskIDs(), Started: time.Now(),
			}), r.lease),
			Put(n, encodeNode(next)),
		},
	})
	if err == nil && !res.OK {
		err = ErrConflict // someone registered since we looked
	}
	if err != nil {
		// The lease must not keep a registration alive that we do not know of. If this fails, too, it
		// ends by itself.
		_ = kv.Revoke(context.WithoutCancel(ctx), r.lease)
		return registered{}, fmt.Errorf("register broker %d: %w", reg.ID, err)
	}
	next.Rev = res.Rev
	r.epoch, r.node = res.Rev, next
	return r, nil
}

// checkPast refuses to register in a key space at rev that is older than the epochs it has given to our disks:
// it would give them again.
func (r *Registration) checkPast(rev int64) error {
	for _, d := range r.Disks {
		if d.Epoch > rev {
			return fmt.Errorf("register broker %d: a disk of it has epoch %d, but the key space is at revision %d: %w",
				r.ID, d.Epoch, rev, ErrWentBack)
		}
	}
	return nil
}

// takenWait is how long after a TTL a registration that nobody renews is gone at the latest, also if etcd changes its leader
// meanwhile: that takes seconds, and a new leader prolongs all leases.
const takenWait = 5 * time.Second

// clearWay returns the broker's lasting record (nil: none) once no registration under its id is left.
func (l *Lease) clearWay(ctx context.Context) (*Node, error) {
	kv, keys, reg := l.opts.KV, l.store.keys, &l.reg
	b, n := keys.Broker(reg.ID), keys.Node(reg.ID)
	var deadline time.Duration
	for {
		entries, rev, err := kv.Get(ctx, b, n)
		if err != nil {
			return nil, fmt.Errorf("register broker %d: %w", reg.ID, err)
		}
		if err := reg.checkPast(rev); err != nil {
			return nil, err
		}
		if !entries[0].Exists() {
			if !entries[1].Exists() {
				return nil, nil
			}
			return decodeNode(entries[1], reg.ID)
		}
		holder, err := decodeBroker(entries[0], reg.ID)
		if err != nil {
			return nil, err
		}
		switch now := l.opts.Clock(); {
		case sharesDisk(holder.Disks, reg.diskIDs()):
			// We hold the lock of a disk it had, so it is an earlier life of ours, or this one's lost reply.
			l.opts.Logger.Info("ending an earlier registration of this broker", "broker", reg.ID, "epoch", holder.Epoch)
			if err := kv.Revoke(ctx, entries[0].Lease); err != nil && !errors.Is(err, ErrLeaseNotFound) {
				return nil, fmt.Errorf("register broker %d: end its earlier registration: %w", reg.ID, err)
			}
		case deadline == 0:
			// The TTL is ours; the holder's may be longer, which an operator who changes it must mind.
			deadline = now + l.opts.TTL + takenWait
			l.opts.Logger.Info("node.id is registered by another broker, waiting for it to go", "broker", reg.ID, "holder", holder.Listeners)
			fallthrough
		default:
			if now >= deadline {
				return nil, fmt.Errorf("register broker %d: it is live at %v since %v, with other disks: %w",
					reg.ID, holder.Listeners, holder.Started.Format(time.RFC3339), ErrNodeIDTaken)
			}
			awaitChange(ctx, kv, b, rev, deadline-now) // and look again in any case: while etcd is away no lease ends
		}
	}
}

// awaitChange waits until key has changed since rev, or for d.
func awaitChange(ctx context.Context, kv KV, key string, rev int64, d time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	for batch := range kv.Watch(ctx, key, key+"\x00", rev+1) {
		if batch.Err != nil {
			sleep(ctx, minSettle)
			return
		}
		if len(batch.Events) > 0 {
			return
		}
	}
}

// confirmEpoch records that the broker's disks hold its epoch, so that an older copy of them is known for one.
func (l *Lease) confirmEpoch(ctx context.Context, r *registered) error {
	next := *r.node
	next.LastEpoch = r.epoch
	key, b := l.store.keys.Node(next.ID), l.store.keys.Broker(next.ID)
	for {
		res, err := Settle(ctx, l.opts.KV, Txn{
			If:   []Cmp{ModIs(key, next.Rev), CreatedAt(b, r.epoch)},
			Then: []Op{Put(key, encodeNode(&next))},
			Else: []string{key, b},
		})
		switch {
		case err != nil:
			return fmt.Errorf("confirm epoch %d of broker %d: %w", r.epoch, next.ID, err)
		case res.OK:
			return nil
		case res.Else[1].CreateRev != r.epoch:
			return fmt.Errorf("confirm epoch %d of broker %d: %w", r.epoch, next.ID, ErrFenced)
		}
		// The controller wrote its own part meanwhile.
		now, err := decodeNode(res.Else[0], next.ID)
		if err != nil {
			return err
		}
		next = *now
		next.LastEpoch = r.epoch
	}
}
