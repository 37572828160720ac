package replication

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/partition"
	"firn/broker/wire"
	"firn/metadata/topic"
)

// take does what an answer says.
func (s *session) take(a answer) error {
	s.seen++
	if a.correlation != int32(s.seen) {
		return fmt.Errorf("%w: correlation id %d, want %d", wire.ErrAnswer, a.correlation, s.seen)
	}
	resp := kmsg.NewPtrFetchResponse() // its records alias the frame
	resp.Version = fetchVersion
	if err := wire.DecodeAnswer(a.frame.B, resp); err != nil {
		return err
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return fmt.Errorf("fetch session: %w", err)
	}
	if resp.SessionID == 0 || s.id != 0 && resp.SessionID != s.id {
		return fmt.Errorf("%w: session %d, was %d", wire.ErrAnswer, resp.SessionID, s.id)
	}
	s.id = resp.SessionID
	s.f.heard.Store(time.Now().UnixNano())
	s.f.all.met.fetches.Inc()
	for i := range resp.Topics {
		t := &resp.Topics[i]
		for j := range t.Partitions {
			if p := s.follows[topic.Partition{ID: t.TopicID, Index: t.Partitions[j].Partition}]; p != nil && p.named {
				s.answered(p, &t.Partitions[j])
			}
		}
	}
	return nil
}

// answered does what the leader says of one partition.
func (s *session) answered(p *follow, rp *kmsg.FetchResponseTopicPartition) {
	calls := rp.ErrorCode != 0 || len(rp.RecordBatches) > 0 || rp.DivergingEpoch.Epoch >= 0
	if calls && !p.told {
		// Whatever comes of it, the leader waits to be told.
		p.told, p.say = true, true
		s.live--
	}
	if p.busy || s.seen < p.epochSeq {
		// It answers what was asked at an older leader epoch; or what is asked now, taken up by a fetch that waited. What it says
		// of the high watermark, which the leader says once, is asked for again.
		p.say = true
		s.look(p)
		return
	}
	met := s.f.all.met
	var err error
	switch {
	case rp.ErrorCode != 0:
		err = s.failed(p, rp)
	case rp.DivergingEpoch.Epoch >= 0:
		s.truncate(p, partition.EpochEnd{Epoch: rp.DivergingEpoch.Epoch, End: rp.DivergingEpoch.EndOffset})
	default:
		met.bytes.Add(float64(len(rp.RecordBatches)))
		s.count(p, len(rp.RecordBatches))
		err = p.replica.AppendFetched(&partition.Fetched{
			LeaderEpoch: p.place.Epoch, Records: rp.RecordBatches, HighWatermark: rp.HighWatermark, LogStart: rp.LogStartOffset,
		})
	}
	switch {
	case err == nil:
		p.pause = 0
	case errors.Is(err, partition.ErrGap), partition.Outdated(err) && rp.ErrorCode == 0:
		// It was about a log that we have cut since, or an epoch that is over: the next fetch asks anew.
	default:
		met.refused.Inc()
		s.again(p)
		if !errors.Is(err, errWait) && p.pause == minBackoff { // once for as long as it goes on
			s.f.log.Warn("fetched records cannot be appended", "partition", p.tp, "error", err, "again_in", p.pause)
		}
	}
	if calls || err != nil {
		s.look(p)
	}
}

// errWait says that a leader's answer calls for another try and nothing else.
var errWait = errors.New("ask again later")

// failed handles a leader's error. Those that come of brokers hearing of a change at different times pass by
// themselves.
func (s *session) failed(p *follow, rp *kmsg.FetchResponseTopicPartition) error {
	switch rp.ErrorCode {
	case kerr.OffsetMovedToTieredStorage.Code:
		s.startAnew(p, p.place.Epoch, rp.LogStartOffset)
		return nil
	case kerr.OffsetOutOfRange.Code:
		switch at, start := p.place, rp.LogStartOffset; {
		case start > at.Offset:
			s.startAnew(p, at.Epoch, start)
			return nil
		case at.LastEpoch < 0 && at.Offset > 0: // a log that has anything would be told where it parts from the leader's
			s.f.all.met.anew.Inc()
			s.aside(p, s.f.all.anew, "begin over", func() error { return p.replica.StartOver(at.Epoch, start) })
			return nil
		}
	}
	s.f.log.Debug("leader refuses a fetch", "partition", p.tp, "error", kerr.ErrorForCode(rp.ErrorCode))
	return errWait
}

// startAnew begins p's log anew, for which it may have to read from the tier.
func (s *session) startAnew(p *follow, epoch int32, logStart int64) {
	s.f.all.met.anew.Inc()
	s.aside(p, s.f.all.anew, "begin anew", func() error { return p.replica.StartAnew(epoch, logStart) })
}

// truncate cuts p's log, which takes some syncs. After the death of a leader of many partitions many may have to be cut.
func (s *session) truncate(p *follow, at partition.EpochEnd) {
	s.f.all.met.cuts.Inc()
	epoch := p.place.Epoch
	s.aside(p, s.f.all.cutting, "cut", func() error { return p.replica.Truncate(epoch, at) })
}

// aside changes p's log by fn beside the fetcher's own work, for which other partitions wait. slots bound how many are
// changed at a time.
func (s *session) aside(p *follow, slots chan struct{}, what string, fn func() error) {
	all, f := s.f.all, s.f
	p.busy, p.say = true, true
	all.group.Go(func() {
		select {
		case slots <- struct{}{}:
		case <-f.ctx.Done():
			return
		}
		err := fn()
		<-slots
		if err != nil && !partition.Outdated(err) {
			level := slog.LevelDebug
			if now, last := time.Now().Unix(), all.warned.Load(); now-last >= anewLogGap && all.warned.CompareAndSwap(last, now) {
				level = slog.LevelWarn
			}
			f.log.Log(f.ctx, level, "a log is not in line with its leader's, will try again", "partition", p.tp, "failed", what, "error", err)
			select {
			case <-time.After(all.opts.Backoff):
			case <-f.ctx.Done():
			}
		}
		f.begun(p)
	})
}
