//go:build synctests

package sim

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// A broker that stops goes on to answer for half a second when others lead what it led, or coordinate its groups: a client that
// asks it meanwhile, over a connection that it has, is told who does. Then it ends.
func TestStoppedBrokerTellsWhoTookOver(t *testing.T) {
	for _, c := range []struct {
		name      string
		workloads []workload
		ask       func(conn net.Conn) (int32, error)
	}{
		{"a partition", []workload{durable}, askLeader},
		{"a group, and it leads nothing", nil, askCoordinator},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSim(1, slog.LevelWarn)
				s.brokers = copies
				told, err := s.stopAndAsk(c.workloads, c.ask)
				if err == nil && (told < 400*time.Millisecond || told > 2*time.Second) {
					err = fmt.Errorf("for %v it told who took over", told)
				}
				s.end()
				if err != nil || len(s.violations) > 0 {
					t.Errorf("%v %v\n%s%s", err, s.violations, s.schedule.String(), s.logBytes.b.Bytes())
				}
			})
		})
	}
}

// stopAndAsk stops the broker to which the answer of any points, and returns for how long it names another.
func (s *sim) stopAndAsk(workloads []workload, ask func(conn net.Conn) (int32, error)) (told time.Duration, err error) {
	if err := errors.Join(s.build(), s.begin()); err != nil {
		return 0, err
	}
	s.workloads = workloads // without clients
	for _, w := range workloads {
		if err := s.eventually("a topic is made", func() error { return s.topic(s.quiet, w.name) }); err != nil {
			return 0, err
		}
	}
	if err := s.awaitInSync(); err != nil {
		return 0, err
	}
	at := s.machines[0]
	var conn net.Conn
	for range 2 {
		if conn, err = s.net.dial(s.quiet, client, at.host+":9092"); err != nil {
			return 0, err
		}
		defer conn.Close()
		id, err := ask(conn)
		if err != nil || id < 1 {
			return 0, fmt.Errorf("broker %d names %d: %w", at.id, id, err)
		}
		at = s.machines[id-1]
	}
	at.planned = false
	at.life.stop()
	var first, last time.Time // when it named another
	for {
		id, err := ask(conn)
		if err != nil {
			break
		}
		if id > 0 && id != at.id {
			last = time.Now()
			if first.IsZero() {
				first = last
			}
		}
		pause(10 * time.Millisecond)
	}
	return last.Sub(first), at.shutdown()
}

// askOne sends a request over a connection and waits for the answer to it.
func askOne(conn net.Conn, req kmsg.Request) (kmsg.Response, error) {
	if _, err := conn.Write(kmsg.NewRequestFormatter().AppendRequest(nil, req, 0)); err != nil {
		return nil, err
	}
	var size [4]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, err
	}
	body := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(conn, body); err != nil {
		return nil, err
	}
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	return resp, resp.ReadFrom(body[4:])
}

// askLeader asks who leads the first partition of the durable topic.
func askLeader(conn net.Conn) (int32, error) {
	req := kmsg.NewPtrMetadataRequest()
	rt := kmsg.NewMetadataRequestTopic()
	rt.Topic = &durable.name
	req.Version, req.Topics = 7, []kmsg.MetadataRequestTopic{rt}
	resp, err := askOne(conn, req)
	if err != nil {
		return -1, err
	}
	for _, p := range resp.(*kmsg.MetadataResponse).Topics[0].Partitions {
		if p.Partition == 0 {
			return p.Leader, nil
		}
	}
	return -1, nil
}

// askCoordinator asks who coordinates a group.
func askCoordinator(conn net.Conn) (int32, error) {
	req := kmsg.NewPtrFindCoordinatorRequest()
	req.Version, req.CoordinatorKey = 2, "g"
	resp, err := askOne(conn, req)
	if err != nil {
		return -1, err
	}
	return resp.(*kmsg.FindCoordinatorResponse).NodeID, nil
}
