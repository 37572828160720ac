// Package metadata holds the cluster's durable facts: who the brokers are, which topics and partitions
// there are and who leads them, how they are configured, where their archives end, and who owns which
// coordinator shard. The facts live in an ordered key space with compare-and-swap, leases and watches
// (KV), of which metadata/etcd is the real one and metadata/memkv the one for tests. KEYS.md lists every
// key, its value, its writers and the guard each writer uses.
//
// Here belong the keys, the schemas of their values, the Image that every broker keeps of them, the
// broker's Lease, and typed writes that carry the guard they rely on. Here does not belong any decision
// about what the cluster should look like (broker/controller), what a tier head says (tiering) or what a
// group's state means (broker/group): their values pass through as bytes.
//
// # Epochs are revisions
//
// Every fence is a revision of the key space compared in the same transaction as the write: a broker
// epoch is the create revision of b/<id>, a controller epoch that of ctl, a partition epoch the mod
// revision of p/<topic>/<n>, a shard's guard the mod revision of its co record. A lease says who is
// probably alive; only these comparisons say who may write.
//
// # Outcomes
//
// A write either happened, did not happen (ErrConflict, ErrFenced, ErrUnavailable and their like), or its
// outcome is unknown (ErrUnknown): it may have been applied, may be applied later, or never. Whoever gets
// ErrUnknown reads again, linearizably, before believing anything; because every write is guarded, a
// retry of the same transaction can never apply twice.
//
// Lock order: Store.mu, Lease.mu and Committer.mu are never held together, nor while anything is called that
// waits.
package metadata
