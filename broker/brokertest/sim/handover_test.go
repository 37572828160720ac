//go:build synctests

package sim

import (
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// A broker that stops goes on to answer for half a second when others lead what it led: a client that asks it meanwhile, over
// a connection that it has, is told who leads. Then it ends.
func TestStoppedBrokerTellsWhoLeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(1, slog.LevelWarn)
		s.brokers = copies
		defer func() {
			s.end()
			if t.Failed() || len(s.violations) > 0 {
				t.Errorf("%v\n%s%s", s.violations, s.schedule.String(), s.logBytes.b.Bytes())
			}
		}()
		if err := s.build(); err != nil {
			t.Fatal(err)
		}
		if err := s.begin(); err != nil {
			t.Fatal(err)
		}
		s.workloads = []workload{durable}
		err := s.eventually("a topic is made", func() error { return s.topic(t.Context(), durable.name) })
		if err != nil {
			t.Fatal(err)
		}
		if err := s.awaitInSync(); err != nil {
			t.Fatal(err)
		}
		old := s.leaderOf(0)
		m := s.machines[old-1]
		conn, err := s.net.dial(t.Context(), client, m.host+":9092")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if leader, err := askLeader(conn, durable.name, 0); err != nil || leader != old {
			t.Fatalf("leader %d, %v", leader, err)
		}
		m.planned = false
		m.life.stop()
		var first, last time.Time // when it said that another leads
		for {
			leader, err := askLeader(conn, durable.name, 0)
			if err != nil {
				break
			}
			if leader > 0 && leader != old {
				last = time.Now()
				if first.IsZero() {
					first = last
				}
			}
			pause(10 * time.Millisecond)
		}
		if told := last.Sub(first); told < 400*time.Millisecond || told > 2*time.Second {
			t.Errorf("for %v it told who leads now", told)
		}
		if err := m.shutdown(); err != nil {
			t.Error(err)
		}
	})
}

// leaderOf is who leads a partition of the durable topic.
func (s *sim) leaderOf(partition int32) int32 {
	for p := range s.partitionsOf(durable.name) {
		if p.Partition.Index == partition {
			return p.Leader
		}
	}
	return -1
}

// askLeader asks the broker at the other end of a connection who leads a partition.
func askLeader(conn net.Conn, topic string, partition int) (int32, error) {
	req := kmsg.NewPtrMetadataRequest()
	rt := kmsg.NewMetadataRequestTopic()
	rt.Topic = &topic
	req.Version, req.Topics = 7, []kmsg.MetadataRequestTopic{rt}
	if _, err := conn.Write(kmsg.NewRequestFormatter().AppendRequest(nil, req, 0)); err != nil {
		return -1, err
	}
	var size [4]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return -1, err
	}
	body := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(conn, body); err != nil {
		return -1, err
	}
	resp := kmsg.NewPtrMetadataResponse()
	resp.Version = req.Version
	if err := resp.ReadFrom(body[4:]); err != nil {
		return -1, err
	}
	for _, p := range resp.Topics[0].Partitions {
		if int(p.Partition) == partition {
			return p.Leader, nil
		}
	}
	return -1, fmt.Errorf("%d partitions", len(resp.Topics[0].Partitions))
}
