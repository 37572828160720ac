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

// judge ends the clients, reads everything from each replica and from the tier, and holds all that was seen against what the
// cluster promises.
func (s *sim) judge() error {
	before := make([]*history.History, len(s.drivers))
	for i, d := range s.drivers {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := d.Stop(ctx); err != nil {
			s.violation("%v", err)
		}
		if d.Acked() == 0 {
			s.violation("%s: nothing was acknowledged", s.workloads[i].name)
		}
		if s.workloads[i].judged != all {
			h, err := d.Close()
			if err != nil {
				s.violation("%v", err)
			}
			s.ops += len(h.Ops)
			before[i] = h
			s.drivers[i] = drive.Start(drive.Options{Bootstrap: s.bootstrap(), Topic: s.workloads[i].name, Partitions: partitions, Client: s.clientOpts()})
		}
	}
	if err := s.readEverywhere(); err != nil {
		return err
	}
	for i, d := range s.drivers {
		h, err := d.Close()
		if err != nil {
			s.violation("%v", err)
		}
		s.ops += len(h.Ops)
		w := s.workloads[i]
		if w.judged != all {
			h = survivors(before[i], s.started[i], h, s.mayBeGone(w))
		}
		report := history.Check(h)
		s.log("%s: %s", w.name, report.Summary())
		if !report.Valid {
			s.violation("%s: %s", w.name, report)
		}
	}
	s.drivers = nil
	return nil
}

// readEverywhere reads all copies as they are, then through each broker as the leader, and then what the tier alone has.
func (s *sim) readEverywhere() error {
	pause(time.Second) // followers hear of the last high watermark
	for i, d := range s.drivers {
		if err := s.readCopies(d, s.workloads[i].name); err != nil {
			return err
		}
	}
	for _, m := range s.machines {
		if err := s.readFrom(m); err != nil {
			return err
		}
	}
	if err := s.eventually("the topics' settings are as usual", s.asUsual); err != nil {
		return err
	}
	pause(localRetention) // local copies go
	return s.readAll("the tier")
}

// readCopies reads what each broker has of a topic.
func (s *sim) readCopies(d *drive.Driver, name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for p := range s.partitionsOf(name) {
		for _, id := range p.Replicas {
			if err := d.ReadCopy(ctx, id, p.Partition.Index); err != nil {
				return err
			}
		}
	}
	return nil
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

// order is as many brokers as there are copies, one of them first.
func (s *sim) order(first *machine) (ids []int32) {
	for i := range copies {
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
