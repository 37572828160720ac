package sim

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"firn/broker/brokertest/history"
	"firn/broker/brokertest/history/drive"
)

// judge ends the clients, reads everything from each replica and from the tier, and holds what all saw against what the
// cluster promises.
func (s *sim) judge() error {
	for i, d := range s.drivers {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := d.Stop(ctx); err != nil {
			s.violation("%v", err)
		}
		if s.workloads[i].unclean {
			if err := s.startOver(i); err != nil {
				s.violation("%v", err)
			}
		}
	}
	for _, m := range s.machines {
		if err := s.readFrom(m); err != nil {
			return err
		}
	}
	pause(localRetention) // local copies go
	if err := s.readAll("the tier"); err != nil {
		return err
	}
	for i, d := range s.drivers {
		h, err := d.Close()
		if err != nil {
			s.violation("%v", err)
		}
		s.ops += len(h.Ops)
		var also []history.Anomaly
		if s.workloads[i].unclean {
			also = append(also, history.PhantomRead) // of all that was sent before the judgement began
		}
		report := history.Check(h, also...)
		s.log("%s: %s", s.workloads[i].name, report.Summary())
		if !report.Valid {
			s.violation("%s: %s", s.workloads[i].name, report)
		}
	}
	s.drivers = nil
	return nil
}

// startOver begins a new history of what is there from now on.
func (s *sim) startOver(i int) error {
	h, err := s.drivers[i].Close()
	s.ops += len(h.Ops)
	s.drivers[i] = drive.Start(drive.Options{Bootstrap: s.bootstrap(), Topic: s.workloads[i].name, Partitions: partitions, Client: s.clientOpts()})
	return err
}

// readFrom makes a machine lead everything and reads it.
func (s *sim) readFrom(m *machine) error {
	err := s.eventually(fmt.Sprintf("broker %d leads everything", m.id), func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		var req kadm.AlterPartitionAssignmentsReq
		var elect kadm.TopicsSet
		for _, w := range s.workloads {
			for p := range s.partitionsOf(w.name) {
				if p.Leader == m.id && p.Replicas[0] == m.id && len(p.Adding)+len(p.Removing) == 0 {
					continue
				}
				req.Assign(w.name, p.Partition.Index, s.order(m))
				elect.Add(w.name, p.Partition.Index)
			}
		}
		if len(req) == 0 {
			return nil
		}
		_, err := s.adm.AlterPartitionAssignments(ctx, req)
		_, err2 := s.adm.ElectLeaders(ctx, kadm.ElectPreferredReplica, elect)
		return errors.Join(errors.New("not yet"), err, err2)
	})
	if err != nil {
		return err
	}
	return s.readAll(fmt.Sprintf("broker %d", m.id))
}

// order is all brokers, one of them first.
func (s *sim) order(first *machine) (ids []int32) {
	for i := range s.machines {
		ids = append(ids, s.machines[(int(first.id)-1+i)%len(s.machines)].id)
	}
	return ids
}

// readAll reads every topic, and what the tier has of it.
func (s *sim) readAll(via string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for i, d := range s.drivers {
		name := s.workloads[i].name
		if _, err := d.ReadAll(ctx, via); err != nil {
			return fmt.Errorf("read %s from %s: %w", name, via, err)
		}
		if err := s.observeTier(ctx, d, name); err != nil {
			return err
		}
	}
	return nil
}
