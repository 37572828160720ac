package sim

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"firn/broker/coordinator"
	"firn/metadata"
)

// event is something that is to be done at a time.
type event struct {
	at time.Duration
	do func()
}

// disturb does to the cluster what the seed says.
func (s *sim) disturb() {
	s.disturbed = time.Now()
	for range minFaults + s.rng.IntN(maxFaults-minFaults+1) {
		at := time.Second + time.Duration(s.rng.Int64N(int64(span)))
		long := time.Duration(s.rng.Int64N(int64(longest)))
		if s.rng.IntN(3) > 0 {
			long /= 4
		}
		f, m := draw(s.rng), s.machines[s.rng.IntN(len(s.machines))]
		rng := rand.New(rand.NewPCG(s.seed, s.rng.Uint64())) // what it draws does not depend on what came before
		s.events = append(s.events, event{at, func() {
			switch rng.IntN(6) { // whom most depends on
			case 0, 1:
				m = cmp.Or(s.leader(rng), m)
			case 2, 3:
				m = cmp.Or(s.coordinator(rng), m)
			}
			end, text := f.begin(s, rng, m)
			if end == nil {
				s.log("broker %d not: %s", m.id, f.name)
				return
			}
			s.faults++
			s.log("broker %d %s (%s) for %v", m.id, f.name, text, long)
			s.after(long, func() {
				s.log("broker %d no more: %s", m.id, f.name)
				end()
			})
		}})
	}
	for len(s.events) > 0 {
		slices.SortStableFunc(s.events, func(a, b event) int { return cmp.Compare(a.at, b.at) })
		e := s.events[0]
		for time.Since(s.disturbed) < e.at {
			pause(min(500*time.Millisecond, e.at-time.Since(s.disturbed)))
			s.supervise()
		}
		s.events = s.events[1:]
		e.do()
	}
}

// after has something done in a while, as part of the disturbance.
func (s *sim) after(d time.Duration, do func()) {
	s.events = append(s.events, event{time.Since(s.disturbed) + d, do})
}

// leader is the machine that leads a partition, nil if nobody does.
func (s *sim) leader(rng *rand.Rand) *machine {
	w, partition := s.workloads[rng.IntN(len(s.workloads))], rng.Int32N(partitions)
	for p := range s.partitionsOf(w.name) {
		if p.Partition.Index == partition && p.Leader > 0 {
			return s.machines[p.Leader-1]
		}
	}
	return nil
}

// coordinator is the machine that coordinates a group, nil if nobody does.
func (s *sim) coordinator(rng *rand.Rand) *machine {
	w, im := s.workloads[rng.IntN(len(s.workloads))], s.store.Image()
	own := im.ShardOwner(metadata.GroupShard, coordinator.ShardOf(group(w.name), im.Shards(metadata.GroupShard)))
	if own.Broker <= 0 {
		return nil
	}
	return s.machines[own.Broker-1]
}

func draw(rng *rand.Rand) fault {
	sum := 0
	for _, f := range faults {
		sum += f.weight
	}
	n := rng.IntN(sum)
	for _, f := range faults {
		if n -= f.weight; n < 0 {
			return f
		}
	}
	panic("not reached")
}

// heal puts all replicas back where they belong, and waits until the cluster is well. All faults have ended.
func (s *sim) heal() error {
	began := time.Now()
	if err := s.eventually("every broker serves, and what it has lost is known", s.allServe); err != nil {
		return err
	}
	if err := s.eventually("every topic that may lose something has leaders", s.electAnyone); err != nil {
		return err
	}
	if err := s.eventually("who was to leave has left, and another has come", s.allStay); err != nil {
		return err
	}
	if s.retunes {
		if err := s.eventually("topics have their settings again", func() error { return s.retuneAll(s.settingsOf) }); err != nil {
			return err
		}
	}
	err := s.eventually("every partition has all its replicas", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		var req kadm.AlterPartitionAssignmentsReq
		for _, w := range s.workloads {
			for p := range s.partitionsOf(w.name) {
				if len(p.Replicas) < copies || len(p.Adding)+len(p.Removing) > 0 {
					req.Assign(w.name, p.Partition.Index, s.order(s.machines[0]))
				}
			}
		}
		if len(req) == 0 {
			return nil
		}
		_, err := s.adm.AlterPartitionAssignments(ctx, req)
		return errors.Join(errors.New("not yet"), err)
	})
	if err != nil {
		return err
	}
	if err := s.awaitInSync(); err != nil {
		return err
	}
	s.log("all in sync %v after the last fault", time.Since(began).Round(time.Millisecond))
	return nil
}

// allServe says which broker does not serve yet, or may still count as having what its disks have lost.
func (s *sim) allServe() error {
	im := s.now()
	for _, m := range s.machines {
		if m.life == nil {
			return fmt.Errorf("broker %d is down", m.id)
		}
		if !m.life.isReady() {
			return fmt.Errorf("broker %d is starting", m.id)
		}
		b, alive := im.Broker(m.id)
		if n, known := im.Node(m.id); !alive || !known || n.LastEpoch != b.Epoch || n.Loss != metadata.LossNone {
			return fmt.Errorf("broker %d: registered %v, %+v", m.id, alive, n)
		}
	}
	return nil
}

// electAnyone is what an operator does about partitions whose last copy in sync was on a disk that is gone, while all others
// have lost something, too: somebody leads, and what was acknowledged may be gone. No topic that keeps its promise needs it.
func (s *sim) electAnyone() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var elect kadm.TopicsSet
	im := s.now()
	for _, w := range s.workloads {
		for p := range partitionsIn(im, w.name) {
			if p.Leader < 0 && len(p.ISR)+len(p.ELR) == 0 && w.judged != all {
				elect.Add(w.name, p.Partition.Index)
				s.mu.Lock()
				s.gone[p.Partition] = append(s.gone[p.Partition], &window{to: time.Since(s.began)})
				s.mu.Unlock()
			}
		}
	}
	if len(elect) == 0 {
		return nil
	}
	_, err := s.adm.ElectLeaders(ctx, kadm.ElectLiveReplica, elect)
	return errors.Join(errors.New("not yet"), err)
}
