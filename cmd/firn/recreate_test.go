package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"firn/broker/brokertest"
)

// A topic that is deleted and made again under its name, over and over, with producers and readers at it that go by
// name, by id, and by what they have cached: nothing that was written to one shows in another, a group that committed
// to one has no commit in the next, and nothing of what is deleted stays on the disk or in the bucket.
func TestTopicDeletedAndMadeAgain(t *testing.T) {
	t.Parallel()
	rounds := envInt(t, "FIRN_TEST_ROUNDS", 8)
	p := brokertest.Start(t, "--set", "log.retention.check.interval.ms=100", "--set", "auto.create.topics.enable=false", "--set", "tier.cache.bytes=0")
	x := &recreation{t: t, p: p}
	ctx, cancel := context.WithCancel(context.Background())
	var traffic sync.WaitGroup
	stop := sync.OnceFunc(func() { cancel(); traffic.Wait() })
	t.Cleanup(stop)
	for i := range 3 {
		cl := kafkaClient(t, p)
		if i == 0 {
			cl = byName(t, p)
		}
		traffic.Go(func() { x.produce(ctx, cl, i != 0) })
		traffic.Go(func() { x.read(ctx, cl, int32(i)%2) })
	}
	adm := kadm.NewClient(kafkaClient(t, p, kgo.MaxVersions(kversion.V3_9_0()))) // commits by name, not by an id it remembers
	for round := range rounds {
		if err := x.round(ctx, adm, round); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
	}
	stop()
	if x.bad.Load() > 0 || t.Failed() {
		return
	}
	t.Logf("%d records written, %d read, %d ids", x.written.Load(), x.seen.Load(), rounds)
	if x.written.Load() == 0 || x.seen.Load() == 0 {
		t.Error("there was no traffic")
	}
	p.Eventually("nothing is left on the disk", func() (bool, error) {
		left, err := filepath.Glob(filepath.Join(p.Dir, "log", "*-[0-9]*"))
		return len(left) == 0, errors.Join(err, fmt.Errorf("%v", left))
	})
	p.Eventually("nothing is left in the bucket", func() (bool, error) {
		var left []string
		err := filepath.WalkDir(filepath.Join(p.Dir, "tier"), func(path string, e os.DirEntry, err error) error {
			if err == nil && !e.IsDir() && filepath.Ext(path) == ".seg" {
				left = append(left, path)
			}
			if errors.Is(err, os.ErrNotExist) {
				return nil
			}
			return err
		})
		return err == nil && len(left) == 0, errors.Join(err, fmt.Errorf("%v", left))
	})
}

type recreation struct {
	t       *testing.T
	p       *brokertest.Process
	written atomic.Int64
	seen    atomic.Int64
	bad     atomic.Int64
}

// round makes the topic, waits for traffic in it and deletes it.
func (x *recreation) round(ctx context.Context, adm *kadm.Client, round int) error {
	val := func(s string) *string { return &s }
	resp, err := adm.CreateTopic(ctx, 2, 1, map[string]*string{
		"segment.bytes": val("1048576"), "local.retention.ms": val("1"), "tier.min.bytes": val("1"), "tier.max.lag.ms": val("100"),
	}, "again")
	if err = errors.Join(err, resp.Err); err != nil {
		return fmt.Errorf("make it at once under the old name: %w", err)
	}
	got, err := adm.FetchOffsets(ctx, "ghost")
	if err != nil {
		return err
	}
	if o, ok := got.Lookup("again", 0); ok && o.At >= 0 {
		x.t.Errorf("round %d: the new topic has a commit at %d", round, o.At)
	}
	var os kadm.Offsets
	os.AddOffset("again", 0, int64(1000+round), -1)
	if err := adm.CommitAllOffsets(ctx, "ghost", os); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	wrote, saw := x.written.Load(), x.seen.Load()
	x.p.Eventually("there is traffic, in the tier, too", func() (bool, error) {
		tiers, err := x.p.Tiers("again")
		archived := false
		for _, tr := range tiers {
			archived = archived || tr.TieredEnd > 0
		}
		return archived && x.written.Load() > wrote+20 && x.seen.Load() > saw+20 || x.bad.Load() > 0,
			errors.Join(err, fmt.Errorf("%d written, %d read, archived %v", x.written.Load()-wrote, x.seen.Load()-saw, archived))
	})
	del, err := adm.DeleteTopic(ctx, "again")
	return errors.Join(err, del.Err)
}

// topicID asks the broker which id the name has now.
func topicID(ctx context.Context, cl *kgo.Client) ([16]byte, error) {
	req := kmsg.NewPtrMetadataRequest()
	rt := kmsg.NewMetadataRequestTopic()
	rt.Topic = kmsg.StringPtr("again")
	req.Topics = append(req.Topics, rt)
	resp, err := cl.SeedBrokers()[0].Request(ctx, req)
	if err != nil {
		return [16]byte{}, err
	}
	topic := resp.(*kmsg.MetadataResponse).Topics[0]
	return topic.TopicID, kerr.ErrorForCode(topic.ErrorCode)
}

// produce writes records that say for which id they are meant, and whether the request that carries them names it
// or the topic's name, which may be another's by then.
func (x *recreation) produce(ctx context.Context, cl *kgo.Client, byID bool) {
	value := make([]byte, 4000)
	if byID {
		value[16] = 1
	}
	for n := int32(0); ctx.Err() == nil; n++ {
		id, err := topicID(ctx, cl)
		if err != nil {
			continue
		}
		copy(value, id[:])
		req := kmsg.NewPtrProduceRequest()
		req.Acks, req.TimeoutMillis = -1, 10_000
		rt, rp := kmsg.NewProduceRequestTopic(), kmsg.NewProduceRequestTopicPartition()
		rt.Topic, rt.TopicID, rp.Partition, rp.Records = "again", id, n%2, batchWith(value, nil)
		rt.Partitions = append(rt.Partitions, rp)
		req.Topics = append(req.Topics, rt)
		resp, err := cl.SeedBrokers()[0].Request(ctx, req)
		if err == nil && resp.(*kmsg.ProduceResponse).Topics[0].Partitions[0].ErrorCode == 0 {
			x.written.Add(1)
		}
	}
}

// values are the values of batches of one record each, the last of which may be cut off.
func values(b []byte) ([][]byte, error) {
	var list [][]byte
	for len(b) >= 12 && len(b) >= 12+int(binary.BigEndian.Uint32(b[8:])) {
		n := 12 + int(binary.BigEndian.Uint32(b[8:]))
		var batch kmsg.RecordBatch
		if err := batch.ReadFrom(b[:n]); err != nil {
			return nil, err
		}
		var rec kmsg.Record
		if err := rec.ReadFrom(batch.Records); err != nil || len(rec.Value) < 17 {
			return nil, fmt.Errorf("record with a value of %d bytes: %w", len(rec.Value), err)
		}
		list, b = append(list, rec.Value), b[n:]
	}
	return list, nil
}

// read reads from the beginning, by the topic's id where the version has ids, and compares.
func (x *recreation) read(ctx context.Context, cl *kgo.Client, partition int32) {
	for ctx.Err() == nil {
		id, err := topicID(ctx, cl)
		if err != nil {
			continue
		}
		for offset := int64(0); ctx.Err() == nil; {
			p, byID, err := fetchOf(ctx, cl, id, partition, offset)
			if err != nil {
				break
			}
			records, err := values(p.RecordBatches)
			if err != nil {
				x.t.Errorf("partition %d offset %d: %v", partition, offset, err)
				x.bad.Add(1)
				return
			}
			if byID && !x.allOf(records, id, partition, offset) {
				return
			}
			if len(records) == 0 {
				if now, err := topicID(ctx, cl); err != nil || now != id {
					break
				}
			}
			offset += int64(len(records))
			x.seen.Add(int64(len(records)))
		}
	}
}

// allOf fails the test if a record read under an id was written under another.
func (x *recreation) allOf(records [][]byte, id [16]byte, partition int32, offset int64) bool {
	for i, v := range records {
		if [16]byte(v[:16]) != id && v[16] == 1 {
			x.t.Errorf("partition %d offset %d: a record of topic %x in topic %x", partition, offset+int64(i), v[:16], id)
			x.bad.Add(1)
			return false
		}
	}
	return true
}

func fetchOf(ctx context.Context, cl *kgo.Client, id [16]byte, partition int32, offset int64) (kmsg.FetchResponseTopicPartition, bool, error) {
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.SessionEpoch = 50, 1, 1<<20, -1
	rt, rp := kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
	rt.Topic, rt.TopicID, rp.Partition, rp.FetchOffset, rp.PartitionMaxBytes = "again", id, partition, offset, 1<<20
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	resp, err := cl.SeedBrokers()[0].Request(ctx, req)
	if err != nil {
		return kmsg.FetchResponseTopicPartition{}, false, err
	}
	got := resp.(*kmsg.FetchResponse)
	if got.ErrorCode != 0 || len(got.Topics) == 0 {
		return kmsg.FetchResponseTopicPartition{}, false, fmt.Errorf("fetch: %w", kerr.ErrorForCode(got.ErrorCode))
	}
	p := got.Topics[0].Partitions[0]
	return p, got.Version >= 13, kerr.ErrorForCode(p.ErrorCode)
}
