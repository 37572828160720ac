package controller

import (
	"maps"
	"math"
	"slices"
	"strconv"

	"firn/metadata"
	"firn/metadata/topic"
)

// elector decides who leads, from one image. It is for one goroutine.
type elector struct {
	img      *metadata.Image
	defaults topic.Defaults
	configs  map[topic.ID]topicFacts
	flushes  map[replicaOf]bool
}

// topicFacts is what elections need of a topic's settings.
type topicFacts struct {
	minInsync int
	unclean   bool
}

// replicaOf is one broker's part in a topic.
type replicaOf struct {
	topic  topic.ID
	broker int32
}

func newElector(img *metadata.Image, defaults topic.Defaults) *elector {
	return &elector{img: img, defaults: defaults, configs: make(map[topic.ID]topicFacts), flushes: make(map[replicaOf]bool)}
}

// config returns a topic's settings, as they are on one broker or, if that is -1, wherever none has its own.
func (e *elector) config(id topic.ID, broker int32) topic.Config {
	d := e.defaults
	d.Cluster = e.img.ClusterOverrides()
	if broker >= 0 {
		d.Broker = e.img.BrokerOverrides(broker)
		if n, ok := e.img.Node(broker); ok {
			d.Static = flushing(d.Static, n.Relaxed)
		}
	}
	// What cannot be parsed was refused when it was set; the rest of the settings still counts.
	c, _ := topic.ParseConfig(e.img.TopicOverrides(id), d)
	return c
}

// flushing is a broker's own settings as far as elections need them: ours, but for what it says of its own flushing.
func flushing(static map[string]string, relaxed bool) map[string]string {
	static = maps.Clone(static)
	delete(static, topic.FlushMessages)
	if relaxed {
		if static == nil {
			static = map[string]string{}
		}
		static[topic.FlushMessages] = strconv.Itoa(math.MaxInt64)
	}
	return static
}

func (e *elector) facts(id topic.ID) topicFacts {
	f, ok := e.configs[id]
	if !ok {
		c := e.config(id, -1)
		f = topicFacts{minInsync: int(c.MinInsync), unclean: c.UncleanElection}
		e.configs[id] = f
	}
	return f
}

// durable reports whether what a broker acknowledged of a topic had reached its disk. That is a matter of that
// broker's settings, not of the controller's.
func (e *elector) durable(id topic.ID, broker int32) bool {
	r := replicaOf{id, broker}
	d, ok := e.flushes[r]
	if !ok {
		c := e.config(id, broker)
		d = c.Flush.Durable()
		e.flushes[r] = d
	}
	return d
}

// epoch returns a live broker's epoch, or 0.
func (e *elector) epoch(id int32) int64 {
	if b, ok := e.img.Broker(id); ok {
		return b.Epoch
	}
	return 0
}

func (e *elector) alive(id int32) bool { return e.epoch(id) != 0 }

// leaving reports whether a broker is to hand over what it has.
func (e *elector) leaving(id int32) bool {
	n, ok := e.img.Node(id)
	return ok && n.State != metadata.NodeLive
}

func (e *elector) loss(id int32) metadata.Loss {
	if n, ok := e.img.Node(id); ok {
		return n.Loss
	}
	return metadata.LossNone
}

// lacks reports what a replica's disk may lack of a partition's committed records. A leader elected under its
// present epoch was chosen with that in mind.
func (e *elector) lacks(p *metadata.PartitionState, id int32) metadata.Loss {
	loss := e.loss(id)
	switch {
	case p.Leader == id && p.LeaderBrokerEpoch == e.epoch(id):
		return metadata.LossNone
	case loss == metadata.LossRelaxed && e.durable(p.Partition.ID, id):
		return metadata.LossNone // what it had acknowledged had reached the disk
	}
	return loss
}

// Next returns what a partition's record should say by an image, of which p need not be a part, and whether that differs
// from what it says. It is the controller's judgement, to be had without being the controller.
func Next(img *metadata.Image, defaults topic.Defaults, p *metadata.PartitionState) (metadata.PartitionState, bool) {
	return newElector(img, defaults).next(p)
}

// next returns what a partition's record should say, or false if it is right as it is. In this order:
//
//  1. Replicas whose disk may lack records leave the ISR and the ELR. The last one to leave stays as last
//     known leader, as long as it is the same disk.
//  2. Dead replicas leave the ISR, as long as a live one stays that can serve: with one of which that is not known yet
//     they may be back first. While the ISR is smaller than min.insync.replicas the high watermark stands still, so
//     they still have all that is committed, and go to the ELR.
//  3. A reassignment ends whose added replicas are all in the ISR: the others leave, under a new leader epoch.
//  4. If the leader is not leading under its present epoch, the first of the replicas that is alive and in
//     the ISR leads, or else in the ELR, or else the last known leader, or else, only if the topic allows unclean
//     elections, anyone who is alive, or else nobody. A leader that is about to leave, or cannot serve yet, makes way
//     as soon as another of the ISR can lead. One that has yielded is not elected before it registers anew.
func (e *elector) next(p *metadata.PartitionState) (metadata.PartitionState, bool) {
	return e.decide(p, true)
}

// nextClean is next, but that nobody is elected who may lack records.
func (e *elector) nextClean(p *metadata.PartitionState) (metadata.PartitionState, bool) {
	return e.decide(p, false)
}

func (e *elector) decide(p *metadata.PartitionState, unclean bool) (metadata.PartitionState, bool) {
	n := *p
	e.strip(&n)
	e.bury(&n)
	ended := e.endReassignment(&n)
	switch {
	case n.Leader < 0 || !slices.Contains(n.ISR, n.Leader) || e.epoch(n.Leader) != n.LeaderBrokerEpoch:
		e.elect(&n, unclean)
	case e.leaving(n.Leader) || !ready(e.img, n.Leader):
		if id := e.pick(&n, n.Replicas, n.ISR); id != n.Leader && !e.leaving(id) && ready(e.img, id) {
			e.crown(&n, id)
		}
	}
	if ended && n.LeaderEpoch == p.LeaderEpoch {
		n.LeaderEpoch++ // so that replicas that have left are fenced
	}
	return n, !same(p, &n)
}

func same(a, b *metadata.PartitionState) bool {
	return a.Leader == b.Leader && a.LeaderBrokerEpoch == b.LeaderBrokerEpoch && a.LeaderEpoch == b.LeaderEpoch &&
		a.LastKnownLeader == b.LastKnownLeader && slices.Equal(a.ISR, b.ISR) && slices.Equal(a.ELR, b.ELR) &&
		slices.Equal(a.Replicas, b.Replicas) && slices.Equal(a.Adding, b.Adding) && slices.Equal(a.Removing, b.Removing)
}

// strip is step 1 of next.
func (e *elector) strip(n *metadata.PartitionState) {
	before := *n
	lost := func(id int32) bool { return e.lacks(&before, id) != metadata.LossNone }
	if id := n.LastKnownLeader; id >= 0 && e.loss(id) == metadata.LossAll {
		n.LastKnownLeader = -1 // once the loss has been acted on, nothing else would tell the new disk from the old one
	}
	n.ISR = without(n.ISR, lost)
	n.ELR = without(n.ELR, lost)
	if len(n.ISR)+len(n.ELR) > 0 || len(before.ISR)+len(before.ELR) == 0 {
		return
	}
	n.LastKnownLeader = -1
	for _, id := range append([]int32{before.Leader}, slices.Concat(before.ISR, before.ELR)...) {
		if id >= 0 && e.lacks(&before, id) == metadata.LossRelaxed {
			n.LastKnownLeader = id
			return
		}
	}
}

// bury is step 2 of next.
func (e *elector) bury(n *metadata.PartitionState) {
	dead := func(id int32) bool { return !e.alive(id) }
	living := without(n.ISR, dead)
	if len(living) == len(n.ISR) || !slices.ContainsFunc(living, func(id int32) bool { return ready(e.img, id) }) {
		return
	}
	if len(living) < e.facts(n.Partition.ID).minInsync {
		n.ELR = slices.Concat(n.ELR, without(n.ISR, e.alive))
	}
	n.ISR = living
}

// elect is step 4 of next.
func (e *elector) elect(n *metadata.PartitionState, unclean bool) {
	if id := e.pick(n, n.Replicas, n.ISR); id >= 0 {
		e.crown(n, id)
		return
	}
	// Nobody of the ISR is alive. All of it has what is committed, and so has the ELR.
	heirs := slices.Concat(n.ISR, n.ELR)
	if id := e.pick(n, n.Replicas, n.ELR); id >= 0 {
		n.ELR = without(heirs, func(h int32) bool { return h == id })
		n.ISR = []int32{id}
		e.crown(n, id)
		return
	}
	if id := n.LastKnownLeader; unclean && len(heirs) == 0 && id >= 0 && e.able(n, id) && e.loss(id) != metadata.LossAll {
		n.ISR = []int32{id}
		e.crown(n, id)
		return
	}
	if unclean && e.facts(n.Partition.ID).unclean && e.electUnclean(n) {
		return
	}
	if n.Leader >= 0 {
		n.Leader, n.LeaderBrokerEpoch = -1, 0
		n.LeaderEpoch++
	}
}

// able reports whether a broker is alive and has not given its part up in this life: then it cannot serve its replica.
func (e *elector) able(n *metadata.PartitionState, id int32) bool {
	yielded := n.Leader < 0 && e.epoch(id) == n.LeaderBrokerEpoch
	return e.alive(id) && !yielded
}

func (e *elector) crown(n *metadata.PartitionState, id int32) {
	n.Leader, n.LeaderBrokerEpoch = id, e.epoch(id)
	n.LeaderEpoch++
	n.LastKnownLeader = -1
}

// pick returns the first of the replicas that is able to lead and in the set, or -1. One that is about to leave is
// taken only if there is no other, and one whose registration is not complete only if there is not even that: what it leads
// nobody serves, for as long as its disks take.
func (e *elector) pick(n *metadata.PartitionState, replicas, set []int32) int32 {
	best, least := int32(-1), 3
	for _, id := range replicas {
		rank := 0
		switch {
		case !e.able(n, id) || !slices.Contains(set, id):
			continue
		case !ready(e.img, id):
			rank = 2
		case e.leaving(id):
			rank = 1
		}
		if rank < least {
			best, least = id, rank
		}
	}
	return best
}

// without returns the ids that drop does not hold for; the same slice if it holds for none.
func without(ids []int32, drop func(int32) bool) []int32 {
	if !slices.ContainsFunc(ids, drop) {
		return ids
	}
	var out []int32
	for _, id := range ids {
		if !drop(id) {
			out = append(out, id)
		}
	}
	return out
}
