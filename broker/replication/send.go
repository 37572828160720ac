package replication

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// send sends the next fetch, with what is ready.
func (s *session) send() error {
	req := &s.req
	o := &s.f.all.opts
	req.Default()
	req.Version, req.SessionID, req.SessionEpoch = fetchVersion, s.id, s.epoch
	req.ReplicaState.ID, req.ReplicaState.Epoch = o.BrokerID, o.BrokerEpoch()
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes = int32(o.MaxWait.Milliseconds()), 1, int32(o.MaxBytes)
	if s.id == 0 {
		req.MaxWaitMillis = 0 // before the session is known nothing more can be said, and more partitions may be about to come
	}
	req.Topics, req.ForgottenTopics = req.Topics[:0], req.ForgottenTopics[:0]
	s.seq++
	slices.SortFunc(s.ready, func(a, b *follow) int {
		return cmp.Or(bytes.Compare(a.tp.ID[:], b.tp.ID[:]), cmp.Compare(a.tp.Index, b.tp.Index))
	})
	for _, p := range s.ready {
		p.list = inNone
		s.name(req, p)
	}
	s.ready = s.ready[:0]
	for tp := range s.forget {
		ft := kmsg.NewFetchRequestForgottenTopic()
		ft.TopicID, ft.Partitions = tp.ID, []int32{tp.Index}
		req.ForgottenTopics = append(req.ForgottenTopics, ft)
	}
	clear(s.forget)
	if s.id == 0 && len(req.Topics) == 0 {
		s.seq--
		return nil
	}
	if s.epoch++; s.epoch < 0 {
		s.epoch = 1
	}
	return s.link.send(req, int32(s.seq))
}

// name adds p to a fetch.
func (s *session) name(req *kmsg.FetchRequest, p *follow) {
	at, follows := p.replica.Place()
	if !follows || at.Leader != s.f.leader {
		return // it is about to go
	}
	if !at.Durable {
		p.syncing = true // appended to since, by what was on its way
		s.syncing++
		return
	}
	if !p.named || at.Epoch != p.place.Epoch {
		p.epochSeq = s.seq
	}
	if !p.named || p.told {
		s.live++
	}
	p.place, p.named, p.told, p.say = at, true, false, false
	delete(s.forget, p.tp)
	n := len(req.Topics)
	if n == 0 || req.Topics[n-1].TopicID != p.tp.ID {
		if n < cap(req.Topics) {
			req.Topics = req.Topics[:n+1]
		} else {
			req.Topics = append(req.Topics, kmsg.NewFetchRequestTopic())
		}
		req.Topics[n].TopicID, req.Topics[n].Partitions = p.tp.ID, req.Topics[n].Partitions[:0]
		n++
	}
	rp := kmsg.NewFetchRequestTopicPartition()
	rp.Partition, rp.CurrentLeaderEpoch, rp.FetchOffset = p.tp.Index, at.Epoch, at.Offset
	rp.LastFetchedEpoch, rp.LogStartOffset, rp.PartitionMaxBytes = at.LastEpoch, at.LogStart, int32(s.f.all.opts.PartitionBytes)
	req.Topics[n-1].Partitions = append(req.Topics[n-1].Partitions, rp)
}
