package api

import (
	"github.com/twmb/franz-go/pkg/kerr"

	"firn/metadata"
	"firn/metadata/topic"
)

// places answers where brokers and partitions are, by one image, for the clients of one listener.
type places struct {
	im       *metadata.Image
	self     int32 // this broker
	listener string
	// v0 is for the oldest Metadata: replicas that are away are left out, which is an error there.
	v0 bool
	// byListener is whether a leader without our client's listener has an error of its own.
	byListener bool
}

// address returns where a live broker is reached; false if it is away or has no such listener.
func (p *places) address(id int32) (metadata.Listener, bool) {
	b, ok := p.im.Broker(id)
	if !ok {
		return metadata.Listener{}, false
	}
	return b.Listener(p.listener)
}

// rack returns a rack as the protocol has it: null for none.
func rack(name string) *string {
	if name == "" {
		return nil
	}
	return &name
}

// controllerID returns whom clients are to ask for changes: the controller, or, if our client cannot reach it, this
// broker, which forwards them; -1 while there is no controller.
func (p *places) controllerID() int32 {
	id := p.im.Controller().ID
	if id < 0 {
		return -1
	}
	for _, id := range [...]int32{id, p.self} {
		if _, ok := p.address(id); ok {
			return id
		}
	}
	return -1
}

// partitionPlace is one partition as clients see it. The slices are shared and read-only.
type partitionPlace struct {
	err                     *kerr.Error // nil if all is well
	leader                  int32
	epoch                   int32
	replicas, isr, elr, off []int32
	lastELR                 []int32
}

// partition returns where a partition of a live topic is.
func (p *places) partition(tp topic.Partition) partitionPlace {
	st, ok := p.im.Partition(tp)
	if !ok {
		return partitionPlace{err: kerr.LeaderNotAvailable, leader: -1, epoch: -1}
	}
	pl := partitionPlace{leader: -1, epoch: st.LeaderEpoch, replicas: st.Replicas, isr: st.ISR, elr: st.ELR}
	if st.LastKnownLeader >= 0 && len(st.ISR) == 0 {
		pl.lastELR = []int32{st.LastKnownLeader}
	}
	for _, id := range st.Replicas {
		if _, ok := p.im.Broker(id); !ok {
			pl.off = append(pl.off, id)
		}
	}
	pl.err = p.leads(st)
	if pl.err == nil {
		pl.leader = st.Leader
	}
	if p.v0 {
		p.leaveOutAway(&pl)
	}
	return pl
}

// leads tells whether a partition has a leader that our client can reach, and why not.
func (p *places) leads(st *metadata.PartitionState) *kerr.Error {
	b, ok := p.im.Broker(st.Leader)
	if st.Leader < 0 || !ok || b.Epoch != st.LeaderBrokerEpoch {
		return kerr.LeaderNotAvailable
	}
	if _, ok := b.Listener(p.listener); !ok {
		if p.byListener {
			return kerr.ListenerNotFound
		}
		return kerr.LeaderNotAvailable
	}
	return nil
}

func (p *places) leaveOutAway(pl *partitionPlace) {
	here := func(ids []int32) (out []int32) {
		for _, id := range ids {
			if _, ok := p.address(id); ok {
				out = append(out, id)
			}
		}
		return out
	}
	replicas, isr := here(pl.replicas), here(pl.isr)
	if pl.err == nil && (len(replicas) < len(pl.replicas) || len(isr) < len(pl.isr)) {
		pl.err = kerr.ReplicaNotAvailable
	}
	pl.replicas, pl.isr = replicas, isr
}

// errorCode is a possibly absent error's code.
func errorCode(err *kerr.Error) int16 {
	if err == nil {
		return 0
	}
	return err.Code
}
