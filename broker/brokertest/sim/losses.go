package sim

import (
	"math"
	"slices"
	"time"

	"firn/broker/brokertest/history"
	"firn/metadata"
)

// loss is what a fault takes of a machine's copies.
type loss int8

const (
	unsynced loss = iota // what its disks have not been told to sync
	disk                 // all of a disk
	rot                  // single bits of what was synced
)

// suffers says whether a topic can lose what was acknowledged to too many such losses at a time.
func (w workload) suffers(what loss) bool {
	return what != unsynced && w.judged != remains || what == unsynced && w.relaxed && w.judged == all
}

// topics are all there may be.
func (s *sim) topics() []workload {
	return append([]workload{{name: churned}, {name: trimmed}}, s.workloads...)
}

// mayLose says whether the promise holds although a machine now loses something, and notes the loss if so. acks=all survives the
// loss of min.insync.replicas - 1 copies, which is one here: so no other may have lost something that it does not have again.
func (s *sim) mayLose(m *machine, what loss) bool {
	if m.life == nil {
		return false
	}
	im := s.now()
	for _, w := range s.topics() {
		for p := range s.partitionsOf(w.name) {
			for _, other := range p.Replicas {
				if since, ok := s.lost[w.name][other]; ok && w.suffers(what) && other != m.id && !again(im, p, other, since) {
					return false
				}
			}
		}
	}
	s.lose(m, what)
	return true
}

// lose notes that until now a machine has lost something.
func (s *sim) lose(m *machine, what loss) { s.noteLoss(m, what, s.kv.Rev()) }

// losing notes that from now on a machine loses something.
func (s *sim) losing(m *machine, what loss) { s.noteLoss(m, what, math.MaxInt64) }

func (s *sim) noteLoss(m *machine, what loss, rev int64) {
	for _, w := range s.topics() {
		if what == unsynced && !w.relaxed {
			continue // all that it has acknowledged is on the disk
		}
		if s.lost[w.name] == nil {
			s.lost[w.name] = map[int32]int64{}
		}
		s.lost[w.name][m.id] = rev
	}
}

// now is the metadata as it is at this moment: the clock goes on only when all that can happen has happened.
func (s *sim) now() *metadata.Image {
	pause(time.Nanosecond)
	return s.store.Image()
}

// again says whether a broker that lost something of its copy at a revision has all of it again: it has registered since,
// in a life that goes on, the controller has struck it from the in-sync sets of whatever its disks may lack, and it is in.
func again(im *metadata.Image, p *metadata.PartitionState, id int32, since int64) bool {
	b, alive := im.Broker(id)
	n, known := im.Node(id)
	return alive && known && b.Epoch > since && n.LastEpoch == b.Epoch && n.Loss == metadata.LossNone && slices.Contains(p.ISR, id)
}

// window is a time in which what was acknowledged may be gone.
type window struct{ from, to time.Duration }

// always is all of it.
var always = &window{to: math.MaxInt64}

// syncedAfter is how long after it was appended a record of a relaxed topic surely is on the disk.
const syncedAfter = 2 * time.Second

// follow notes who is in sync since when.
func (s *sim) follow(_, im *metadata.Image) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range im.Partitions() {
		was, is := s.inSync[p.Partition], map[int32]time.Duration{}
		for _, id := range p.ISR {
			since, ok := was[id]
			if !ok {
				since = time.Since(s.began)
			}
			is[id] = since
		}
		s.inSync[p.Partition] = is
	}
}

// forgets notes what a machine may forget from now on until the function it returns is called, of topics that may lose what
// was not synced. Who has been in sync for long enough has synced whatever was acknowledged before; of one who was not, but
// could lead, nothing is known.
func (s *sim) forgets(m *machine) (end func()) {
	im, began := s.now(), time.Since(s.began)
	var open []*window
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.workloads {
		for p := range partitionsIn(im, w.name) {
			if w.judged != synced || !slices.Contains(p.ISR, m.id) && !slices.Contains(p.ELR, m.id) {
				continue
			}
			gone := &window{to: math.MaxInt64}
			if since, ok := s.inSync[p.Partition][m.id]; ok && since <= began-syncedAfter {
				gone.from = began - syncedAfter
			}
			s.gone[p.Partition] = append(s.gone[p.Partition], gone)
			open = append(open, gone)
		}
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, gone := range open {
			gone.to = time.Since(s.began)
		}
	}
}

// mayBeGone says when what was sent to a topic may be gone.
func (s *sim) mayBeGone(w workload) map[history.Key][]*window {
	gone := map[history.Key][]*window{}
	for p := range s.partitionsOf(w.name) {
		k := history.Key(p.Partition.Index)
		if gone[k] = s.gone[p.Partition]; w.judged == remains {
			gone[k] = []*window{always}
		}
	}
	return gone
}

// survivors is the history of what a topic has to have in the end: whatever was sent before, of which nothing is known where it
// may be gone, and what was found. The one before began at a time of the simulation.
func survivors(before *history.History, began time.Duration, found *history.History, gone map[history.Key][]*window) *history.History {
	h := &history.History{Keys: before.Keys}
	last := int64(0)
	for _, op := range before.Ops {
		if op.Func != history.Send {
			continue
		}
		w := op.Writes[0]
		if slices.ContainsFunc(gone[w.Key], func(g *window) bool { return began+op.Start <= g.to && began+op.End >= g.from }) {
			w.Offset = history.Unknown
			op.Outcome, op.Writes = history.Info, []history.Record{w}
		}
		if last = max(last, op.Invoked); op.Completed != history.Never {
			last = max(last, op.Completed)
		}
		h.Ops = append(h.Ops, op)
	}
	for _, op := range found.Ops {
		op.Process += 1 << 20 // others than those before
		op.Invoked += last + 1
		if op.Completed != history.Never {
			op.Completed += last + 1
		}
		h.Ops = append(h.Ops, op)
	}
	return h
}
