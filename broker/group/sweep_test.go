package group

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"firn/metadata/memkv"
	"firn/metadata/topic"
)

// deletable says of all topics but one at once whether they live.
type deletable struct{ gone atomic.Bool }

func (d *deletable) TopicName(id [16]byte) (string, bool) { return "t", id[0] == 2 || !d.gone.Load() }

// TestDeletedTopicsLeaveRoomForCommits deletes topics that many groups have read. What there is to write down of that in all
// shards at once takes the store some time, in which groups at work go on.
func TestDeletedTopicsLeaveRoomForCommits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const shards, topics, slow = 64, 400, 10 * time.Millisecond
		br := newBroker(t, memkv.NewServer(), 1, shards)
		defer br.close()
		br.groups.Close()
		all := &deletable{}
		br.groups = NewCoordinator(Config{
			Options: Options{OffsetsRetention: time.Hour, OffsetsCheckInterval: 10 * time.Minute, MaxMetadata: 4096, Topics: all},
			Broker:  1, Shards: shards, Store: br.committer, Lease: br, Logger: slog.New(slog.DiscardHandler),
		})
		br.ownAll(t)
		swept := time.Now().Add(10 * time.Minute)
		commit := func(group string, cs []Commit) error {
			done := make(chan error, 1)
			br.groups.Commit(Committer{Group: group, Generation: -1}, cs, func(_ *Committed, err error) { done <- err })
			return <-done
		}
		live := []Commit{{Partition: topic.Partition{ID: topic.ID{2}}, LeaderEpoch: -1}}
		var dead []Commit
		for n := range topics {
			id := topic.ID{1, byte(n), byte(n >> 8)}
			dead = append(dead, Commit{Partition: topic.Partition{ID: id}, LeaderEpoch: -1})
		}
		groups := make([]string, shards)
		for i, n := 0, 0; n < shards; i++ {
			if id := fmt.Sprint("group-", i); groups[br.groups.Shard(id)] == "" {
				groups[br.groups.Shard(id)] = id
				n++
			}
		}
		for _, id := range groups {
			if err := commit(id, dead); err != nil {
				t.Fatal(err)
			}
		}
		br.kv.SetFaults(func(c memkv.Call) memkv.Fault {
			if c.Write {
				return memkv.Fault{Delay: slow}
			}
			return memkv.Fault{}
		})
		all.gone.Store(true)
		time.Sleep(time.Until(swept) + 5*time.Millisecond)
		start := time.Now()
		var wg sync.WaitGroup
		for _, id := range groups {
			wg.Go(func() {
				if err := commit(id, live); err != nil {
					t.Errorf("a commit: %v", err)
				}
			})
		}
		wg.Wait()
		if took := time.Since(start); took > 500*time.Millisecond {
			t.Errorf("commits took %v", took)
		}
		time.Sleep(time.Minute)
		for _, id := range groups {
			done := make(chan int, 1)
			br.groups.Offsets(id, nil, true, func(left *[]Fetched, err error) {
				if err != nil {
					t.Error(err)
					done <- 0
					return
				}
				done <- len(*left)
			})
			if left := <-done; left != len(live) {
				t.Errorf("%s has %d offsets left", id, left)
			}
		}
	})
}
