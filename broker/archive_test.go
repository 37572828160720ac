package broker

import (
	"context"
	"testing"
	"time"

	"firn/broker/partition"
	"firn/metadata"
	"firn/metadata/memkv"
	"firn/metadata/topic"
	"firn/segment/vfs"
	"firn/tiering"
	"firn/tiering/objstore/mem"
)

// What a partition has under way in the bucket may be slow to end when the partition is to be archived no more: no other one
// waits for that.
func TestUploadThatIsSlowToEndHoldsUpNoOther(t *testing.T) {
	h := startHost(t, memkv.NewServer(), 1, vfs.NewMem())
	defer h.stop()
	keys, record := h.b.store.Keys(), &metadata.Topic{ID: topic.NewID(), Name: "t", Partitions: 2, ReplicationFactor: 1}
	ops := []metadata.Op{keys.PutTopic(record)}
	for i := range record.Partitions {
		ops = append(ops, keys.PutPartition(&metadata.PartitionState{
			Partition: topic.Partition{ID: record.ID, Index: i}, Leader: 1, LeaderBrokerEpoch: h.b.lease.Epoch(), LeaderEpoch: 1,
			ISR: []int32{1}, LastKnownLeader: -1, Replicas: []int32{1},
		}))
	}
	h.write(ops...)
	var replicas []*partition.Replica
	for i := range record.Partitions {
		tp := topic.Partition{ID: record.ID, Index: i}
		eventually(t, "it has the partition", func() bool { return h.b.set.Get(tp) != nil })
		replicas = append(replicas, h.b.set.Get(tp))
	}
	h.b.applier.rec.settle()

	anchor := &silentAnchor{asked: make(chan struct{}, 2), answer: make(chan struct{})}
	up, err := tiering.NewUploader(tiering.UploaderOptions{
		Bucket: mem.New(), Anchor: anchor, Cluster: "c", BrokerEpoch: h.b.lease.Epoch, FS: vfs.NewMem(), SpoolDir: "/spool",
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = up.Run(ctx)
	}()
	h.b.uploader = up
	a, config := h.b.applier, topic.Config{}
	config.Tier.Enabled = true
	a.archive(replicas[0], 1, &config)
	<-anchor.asked
	ended, other := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		a.archive(replicas[0], 1, nil)
	}()
	go func() {
		defer close(other)
		for a.upload(replicas[0].Partition()) != nil {
			<-time.After(time.Millisecond)
		}
		a.archive(replicas[1], 1, &config)
	}()
	select {
	case <-other:
	case <-time.After(time.Minute):
		t.Error("another partition waits for it")
	}
	select {
	case <-ended:
		t.Error("it has ended with a step under way")
	default:
	}
	close(anchor.answer)
	<-ended
	<-other
	a.archive(replicas[1], 1, nil)
	cancel()
	<-done
}

// silentAnchor gives no answer for a while, not even to those who do not want one any more.
type silentAnchor struct{ asked, answer chan struct{} }

func (a *silentAnchor) Load(context.Context, topic.Partition) ([]byte, int64, error) {
	a.asked <- struct{}{}
	<-a.answer
	return nil, 0, nil
}

func (a *silentAnchor) Swap(context.Context, topic.Partition, int64, int32, []byte) (int64, bool, error) {
	return 0, false, tiering.ErrRefused
}
