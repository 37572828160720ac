package broker

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/metadata"
)

const (
	// standingInterval is how often a broker whose lease has lapsed asks the others about itself: members of its groups
	// have a few seconds to find their new coordinator.
	standingInterval = 500 * time.Millisecond
	// standingTimeout bounds one such question.
	standingTimeout = 2 * time.Second
	// maxStandingAnswer bounds an answer, which lists the brokers and no topic.
	maxStandingAnswer = 1 << 20
)

// standing finds out whether this broker still belongs to the cluster while its lease has lapsed. etcd, which would tell, is
// away then, for all brokers or for this one alone, and only the others know which:
//
//   - One of them has seen this broker's registration end. Its group shards are somebody else's, or about to be.
//   - Those that answer still have it registered: etcd is away for them, too, or the registration still stands. Nobody
//     else coordinates its groups, and their members stay with it for as long as that lasts.
//   - There are others, and for as long as a lease none of them answers. Then this broker is taken for the one that is
//     cut off.
//
// In the first and the last case it gives its group shards up, so that members look for the new owner before that one
// takes them for dead. Partitions have fences of their own.
type standing struct {
	b    *Broker
	over atomic.Bool
}

// Over reports whether the last registration is over as far as the others know, and there is no new one.
func (s *standing) Over() bool { return s.over.Load() && !s.b.lease.Valid() }

func (s *standing) run(ctx context.Context) error {
	tick := time.NewTicker(standingInterval)
	defer tick.Stop()
	var lapsed time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		switch {
		case s.b.lease.Valid():
			lapsed = time.Time{}
			s.settle(false)
		case lapsed.IsZero():
			lapsed = time.Now()
			fallthrough
		case !s.over.Load(): // an end is final until the broker registers again
			others := slices.DeleteFunc(s.b.store.Image().Brokers(), func(o *metadata.Broker) bool { return o.ID == s.b.cfg.NodeID })
			asked, known := s.ask(ctx, others)
			s.settle(registrationOver(len(others), asked, known, time.Since(lapsed) > s.b.cfg.SessionTTL))
		}
	}
}

// registrationOver decides, for a broker whose lease has lapsed, from how many others there are, how many of them have
// answered, and how many of those have it registered. long says that it lapsed a lease's time ago.
func registrationOver(others, answered, registered int, long bool) bool {
	if answered > 0 {
		return registered < answered
	}
	return others > 0 && long
}

// settle gives group shards up or takes them back if over is news.
func (s *standing) settle(over bool) {
	if s.over.Swap(over) == over {
		return
	}
	if over && !s.b.leaving.Load() {
		s.b.log.Warn("the lease has lapsed and others do not know this broker any more; its groups are left to them")
	}
	s.b.applier.ownAll()
}

// ask asks brokers whether this one is registered, all at the same time.
func (s *standing) ask(ctx context.Context, others []*metadata.Broker) (answered, registered int) {
	ctx, cancel := context.WithTimeout(ctx, standingTimeout)
	defer cancel()
	var all sync.WaitGroup
	var mu sync.Mutex
	for _, o := range others {
		all.Go(func() {
			brokers, err := s.b.brokersKnownTo(ctx, o.ID)
			if err != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			answered++
			if slices.Contains(brokers, s.b.cfg.NodeID) {
				registered++
			}
		})
	}
	all.Wait()
	return answered, registered
}

// brokersKnownTo asks another broker which brokers are registered. ctx must have a deadline.
func (b *Broker) brokersKnownTo(ctx context.Context, id int32) ([]int32, error) {
	conn, err := b.dialBroker(ctx, id)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if at, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(at); err != nil {
			return nil, err
		}
	}
	return askBrokers(conn)
}

// askBrokers asks for the brokers at the other end of a connection.
func askBrokers(conn net.Conn) ([]int32, error) {
	req := kmsg.NewPtrMetadataRequest()
	req.Version, req.Topics = 7, []kmsg.MetadataRequestTopic{} // none, which null would not be
	if _, err := conn.Write(kmsg.NewRequestFormatter(kmsg.FormatterClientID("firn")).AppendRequest(nil, req, 0)); err != nil {
		return nil, err
	}
	var head [8]byte // length and correlation id
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return nil, err
	}
	n := int(int32(binary.BigEndian.Uint32(head[:])))
	if n < 4 || n > maxStandingAnswer {
		return nil, fmt.Errorf("answer of %d bytes", n)
	}
	body := make([]byte, n-4)
	if _, err := io.ReadFull(conn, body); err != nil {
		return nil, err
	}
	resp := kmsg.NewPtrMetadataResponse()
	resp.Version = req.Version
	if err := resp.ReadFrom(body); err != nil {
		return nil, fmt.Errorf("answer: %w", err)
	}
	ids := make([]int32, len(resp.Brokers))
	for i, o := range resp.Brokers {
		ids[i] = o.NodeID
	}
	return ids, nil
}
