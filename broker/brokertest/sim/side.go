package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/metadata/topic"
)

// until tries something until it succeeds, and reports false if the disturbance is over before.
func (s *sim) until(try func(ctx context.Context) error) bool {
	for s.quiet.Err() == nil {
		ctx, cancel := context.WithTimeout(s.quiet, 5*time.Second)
		err := try(ctx)
		cancel()
		if err == nil {
			return true
		}
		_ = sleep(s.quiet, 200*time.Millisecond)
	}
	return false
}

// The topics of clients that are no driver's.
const (
	churned = "churned"
	trimmed = "trimmed"
)

// churn deletes a topic and makes it anew under its name, over and over. Nobody may ever see in one what was written to an
// earlier one, or committed of it, unless he may have asked a broker that has not heard of it yet: by its name that is the one before.
func (s *sim) churn() {
	rng := rand.New(rand.NewPCG(s.seed, 99))
	seen := map[topic.ID]bool{}
	for n := 0; s.quiet.Err() == nil; n++ {
		_ = sleep(s.quiet, time.Duration(rng.Int64N(int64(time.Second)))*time.Duration(rng.IntN(2))) // often at once
		tag := fmt.Sprintf("%d/", n)
		if !s.until(func(ctx context.Context) error { return s.topic(ctx, churned) }) ||
			!s.until(func(ctx context.Context) error { return s.neverSeen(ctx, churned, seen) }) ||
			!s.soon("a topic that was made anew knows no commits", s.neverCommitted) ||
			!s.until(func(ctx context.Context) error { return s.produceSome(ctx, churned, tag) }) ||
			!s.until(func(ctx context.Context) error { return s.readSome(ctx, churned, tag) }) ||
			!s.until(func(ctx context.Context) error { return s.commitSome(ctx, churned) }) ||
			!s.until(func(ctx context.Context) error { return s.noMore(ctx, churned) }) {
			return
		}
	}
}

// soon tries something with the churned topic until it succeeds, which it has to, disturbance or not.
func (s *sim) soon(what string, try func(ctx context.Context, name string) error) bool {
	limit := time.Now().Add(patience)
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		err := try(ctx, churned)
		cancel()
		if err == nil {
			return true
		}
		if time.Now().After(limit) {
			s.violation("not within %v: %s: %v", patience, what, err)
			return false
		}
		pause(200 * time.Millisecond)
	}
}

// noMore deletes a topic.
func (s *sim) noMore(ctx context.Context, name string) error {
	resp, err := s.adm.DeleteTopics(ctx, name)
	if err == nil {
		err = resp[name].Err
	}
	if _, there := s.store.Image().Topic(name); err != nil && !there {
		return nil // an earlier try did it
	}
	return err
}

// neverSeen looks at a topic that was made anew: it is another one.
func (s *sim) neverSeen(ctx context.Context, name string, seen map[topic.ID]bool) error {
	all, err := s.adm.ListTopics(ctx, name)
	if err != nil {
		return err
	}
	t := all[name]
	if t.Err != nil {
		return t.Err
	}
	if now, ok := s.store.Image().Topic(name); !ok || now.ID != topic.ID(t.ID) {
		return errors.New("that broker does not know it yet")
	}
	if seen[topic.ID(t.ID)] {
		s.violation("topic %s was made anew with the id of one before", name)
	}
	seen[topic.ID(t.ID)] = true
	return nil
}

// neverCommitted looks at what a group has committed of a topic that was made anew. A coordinator that has not heard of it yet
// may tell of the one before, as topics are asked for by name.
func (s *sim) neverCommitted(ctx context.Context, name string) error {
	got, err := s.adm.FetchOffsetsForTopics(ctx, group(name), name)
	if err != nil {
		return err
	}
	if err := got.Error(); err != nil {
		return err
	}
	got.Each(func(o kadm.OffsetResponse) {
		if o.At >= 0 {
			err = fmt.Errorf("%s-%d: %d is committed of a topic that was made just now", name, o.Partition, o.At)
		}
	})
	return err
}

// commitSome commits offsets for a group without members.
func (s *sim) commitSome(ctx context.Context, name string) error {
	var offsets kadm.Offsets = map[string]map[int32]kadm.Offset{}
	for p := range int32(partitions) {
		offsets.Add(kadm.Offset{Topic: name, Partition: p, At: 2, LeaderEpoch: -1})
	}
	got, err := s.adm.CommitOffsets(ctx, group(name), offsets)
	return errors.Join(err, got.Error())
}

// client makes a client that works for a while.
func (s *sim) client(opts ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append(append(s.clientOpts(), kgo.SeedBrokers(s.bootstrap()...), kgo.MetadataMinAge(50*time.Millisecond)), opts...)...)
}

func (s *sim) produceSome(ctx context.Context, name, tag string) error {
	cl, err := s.client(kgo.DefaultProduceTopic(name), kgo.UnknownTopicRetries(-1))
	if err != nil {
		return err
	}
	defer cl.Close()
	for i := range 4 {
		if err := cl.ProduceSync(ctx, kgo.StringRecord(fmt.Sprintf("%s%d", tag, i))).FirstErr(); err != nil {
			return err
		}
	}
	return nil
}

// allKnow reports whether every broker has heard of the topic that there is now.
func (s *sim) allKnow(ctx context.Context, name string) bool {
	now, ok := s.store.Image().Topic(name)
	for _, m := range s.machines {
		ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
		req := kmsg.NewPtrMetadataRequest()
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = &name
		req.Topics = append(req.Topics, t)
		resp, err := req.RequestWith(ctx, s.cl.Broker(int(m.id)))
		cancel()
		if !ok || err != nil || len(resp.Topics) != 1 || topic.ID(resp.Topics[0].TopicID) != now.ID {
			return false
		}
	}
	return true
}

// readSome reads a topic from its beginning until it has seen four records.
func (s *sim) readSome(ctx context.Context, name, tag string) error {
	known := s.allKnow(ctx, name)
	cl, err := s.client(kgo.ConsumeTopics(name), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.UnknownTopicRetries(-1), kgo.FetchMaxWait(500*time.Millisecond))
	if err != nil {
		return err
	}
	defer cl.Close()
	for seen := 0; seen < 4; {
		fs := cl.PollRecords(ctx, 100)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		fs.EachRecord(func(r *kgo.Record) {
			seen++
			if known && !strings.HasPrefix(string(r.Value), tag) {
				s.violation("%s-%d@%d is %q, of a topic that was deleted before one was made whose records begin with %q", name, r.Partition, r.Offset, r.Value, tag)
			}
		})
	}
	return nil
}
