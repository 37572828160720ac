package controller

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"firn/metadata"
	"firn/metadata/etcd"
	"firn/metadata/topic"
)

// TestOnEtcd starts a broker's metadata on an empty embedded etcd and makes a topic, then restarts it with a
// thousand partitions to elect.
func TestOnEtcd(t *testing.T) {
	dir := t.TempDir()
	const partitions = 1000
	for round := range 2 {
		start := time.Now()
		srv, err := etcd.Embed(t.Context(), dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*patience) // thousands of writes that a disk has to take
		kv, err1 := srv.Dial()
		own, err2 := srv.Dial()
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		store, err := metadata.Open(ctx, kv, metadata.Options{})
		if err != nil {
			t.Fatal(err)
		}
		lease, err := store.Register(ctx, metadata.Registration{
			ID: 1, BootID: "boot", Disks: []metadata.DiskFacts{{ID: disk(1), Epoch: lastEpoch(store, 1)}},
		}, metadata.LeaseOptions{KV: own})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("round %d: registered after %v", round, time.Since(start))
		ctl, err := New(Options{Store: store, Lease: lease})
		if err != nil {
			t.Fatal(err)
		}
		var run sync.WaitGroup
		runCtx, stop := context.WithCancel(ctx)
		run.Go(func() { _ = ctl.Run(runCtx) })

		name := fmt.Sprint("t", round)
		if got := ctl.CreateTopics(ctx, []NewTopic{one(name)}, false)[0]; got.Err != nil {
			t.Fatal(got.Err)
		}
		t.Logf("round %d: topic made after %v", round, time.Since(start))
		img := store.Image()
		for !allLed(img) || !allShardsOwned(img) {
			if img, err = store.WaitRev(ctx, img.Rev()+1); err != nil {
				t.Fatal(err)
			}
		}
		t.Logf("round %d: all led after %v", round, time.Since(start))
		if round == 0 {
			many := make([]NewTopic, partitions)
			for i := range many {
				many[i] = one(fmt.Sprint("many", i))
			}
			start := time.Now()
			for _, got := range ctl.CreateTopics(ctx, many, false) {
				if got.Err != nil {
					t.Fatal(got.Err)
				}
			}
			t.Logf("%d topics made in %v", partitions, time.Since(start))
			makeLargeTopics(ctx, t, ctl, store)
		}
		stop()
		run.Wait()
		if err := lease.Deregister(ctx); err != nil {
			t.Error(err)
		}
		start = time.Now()
		_, _, _, _ = store.Close(), own.Close(), kv.Close(), srv.Close()
		t.Logf("round %d: closed in %v", round, time.Since(start))
		cancel()
	}
}

// makeLargeTopics makes topics that take many requests' worth of what etcd allows in one, and each at once.
func makeLargeTopics(ctx context.Context, t *testing.T, ctl *Controller, store *metadata.Store) {
	t.Helper()
	start := time.Now()
	for _, n := range []int32{2000, maxPartitions} {
		name := fmt.Sprint("large", n)
		got := ctl.CreateTopics(ctx, []NewTopic{{Name: name, Partitions: n, ReplicationFactor: 1, Settings: map[string]string{"retention.ms": "1"}}}, false)[0]
		if got.Err != nil {
			t.Fatalf("%s: %v", name, got.Err)
		}
		if err := ctl.CreatePartitions(ctx, []MorePartitions{{Name: name, Total: n + maxPartitions}}, false)[0]; err != nil {
			t.Fatalf("%s, grown: %v", name, err)
		}
		img := store.Image()
		for i := range n + maxPartitions {
			if p, ok := img.Partition(topic.Partition{ID: got.Topic.ID, Index: i}); !ok || p.Leader != 1 {
				t.Fatalf("%s: partition %d is %+v", name, i, p)
			}
		}
		if err := ctl.DeleteTopics(ctx, []topic.ID{got.Topic.ID})[0]; err != nil {
			t.Fatalf("%s, deleted: %v", name, err)
		}
		if err := store.PurgeTopic(ctx, got.Topic.ID); err != nil {
			t.Fatalf("%s, purged: %v", name, err)
		}
	}
	t.Logf("large topics made, grown and deleted in %v", time.Since(start))
}
