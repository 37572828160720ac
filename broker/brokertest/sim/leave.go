package sim

import (
	"context"
	"errors"
	"math/rand/v2"

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
	if len(s.machines) == copies || m.life == nil || !m.course.CompareAndSwap(stays, asked) {
		return nil, ""
	}
	s.side.Go(func() {
		told := s.until(func(ctx context.Context) error {
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
		})
		if told {
			m.course.Store(leaving)
			s.log("broker %d is told to leave", m.id)
		} else {
			m.course.Store(stays) // unless a try did it whose answer was lost
		}
	})
	return func() {}, ""
}

// seeOff takes machines away whose brokers have nothing left, and puts others in their places.
func (s *sim) seeOff() {
	for _, m := range s.machines {
		if m.course.Load() != leaving || s.stateOf(m) == metadata.NodeDraining {
			continue
		}
		up := m.life != nil && m.planned
		m.crash()
		if s.stateOf(m) == metadata.NodeGone { // and has not just come back by itself
			s.log("broker %d has left", m.id)
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
		if m.course.Load() != stays || s.stateOf(m) == metadata.NodeDraining {
			m.course.CompareAndSwap(stays, leaving) // it was told all the same
			return errors.New("a broker is leaving")
		}
	}
	return nil
}
