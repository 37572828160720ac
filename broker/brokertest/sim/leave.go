package sim

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/metadata"
)

// The course of a machine whose broker leaves for good.
const (
	stays   int32 = iota
	asked         // somebody tries to tell the cluster
	leaving       // and has told it
)

// leaves has a broker unregistered while it is at work. Once it has nothing left it is taken away, and another one with empty
// disks takes its place and its id.
func leaves(s *sim, _ *rand.Rand, m *machine) (func(), string) {
	oneDoes := slices.ContainsFunc(s.machines, func(o *machine) bool { return o.course.Load() != stays })
	if len(s.machines) == copies || m.life == nil || oneDoes {
		return nil, ""
	}
	m.course.Store(asked)
	s.side.Go(func() {
		limit := time.Now().Add(patience)
		for err := s.unregister(m); err != nil; err = s.unregister(m) { // until it is certain
			if time.Now().After(limit) {
				s.violation("broker %d is not told to leave: %v", m.id, err)
				return
			}
			pause(200 * time.Millisecond)
		}
		m.course.Store(leaving)
		s.log("broker %d is told to leave", m.id)
	})
	return func() {}, ""
}

func (s *sim) unregister(m *machine) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	req := kmsg.NewPtrUnregisterBrokerRequest()
	req.BrokerID = m.id
	resp, err := req.RequestWith(ctx, s.cl)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if errors.Is(err, kerr.BrokerIDNotRegistered) {
		return nil // it has left already: an earlier try did it
	}
	return err
}

// seeOff takes machines away whose brokers have nothing left, and puts others in their places.
func (s *sim) seeOff() {
	for _, m := range s.machines {
		if m.course.Load() == stays && m.life.isReady() && s.stateOf(m) != metadata.NodeLive {
			s.log("broker %d is told to leave once more, by a request of before", m.id) // that was looking for a controller
			m.course.Store(leaving)
		}
		if m.course.Load() != leaving || s.stateOf(m) == metadata.NodeDraining {
			continue
		}
		up := m.life != nil && m.planned
		m.crash()
		if s.stateOf(m) == metadata.NodeGone { // and has not just come back by itself
			s.log("broker %d has left", m.id)
			for p := range s.now().Partitions() {
				if slices.Contains(p.Replicas, m.id) {
					s.violation("broker %d has left, and %v is on %v", m.id, p.Partition, p.Replicas)
				}
			}
			for i := range m.dirs {
				if err := m.replaceDisk(i); err != nil {
					s.violation("replace a disk: %v", err)
				}
			}
		}
		m.course.Store(stays)
		if up {
			m.comesUp()
		}
	}
}

// stateOf is what the metadata knows of a broker.
func (s *sim) stateOf(m *machine) metadata.NodeState {
	n, ok := s.now().Node(m.id)
	if !ok {
		return metadata.NodeGone
	}
	return n.State
}

// allStay says whether no broker is about to leave any more.
func (s *sim) allStay() error {
	for _, m := range s.machines {
		if m.course.Load() != stays {
			return errors.New("a broker is leaving")
		}
	}
	return nil
}
