package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/brokertest"
)

// bombBytes is what a bomb decompresses to.
const bombBytes = 10 << 30

// bomb is a batch of a few hundred kilobytes that says it holds a record, and whose zstd holds bombBytes of zeros: run
// after run of 128 KiB in four bytes each.
func bomb() []byte {
	const run = 128 << 10
	z := []byte{0x28, 0xb5, 0x2f, 0xfd, 0, 7 << 3} // magic; neither size nor checksum; a window of 128 KiB
	for n := bombBytes / run; n > 0; n-- {
		last := uint32(0)
		if n == 1 {
			last = 1
		}
		z = append(z, 0, 0, 0, 0)
		binary.LittleEndian.PutUint32(z[len(z)-4:], last|1<<1|run<<3) // its fourth byte is the run's zero
	}
	return batchWith(nil, func(b *kmsg.RecordBatch) { b.Attributes, b.Records = 4, z })
}

// A batch that is small as it is sent and huge when it is decompressed takes bounded memory wherever its records are
// looked into, however many ask for that at a time.
func TestDecompressionBombs(t *testing.T) {
	t.Parallel()
	p := brokertest.Start(t)
	createTopic(t, p, "kept", 1)
	createTopic(t, p, "recompressed", 1, "compression.type", "lz4")
	createTopic(t, p, "compacted", 1, "cleanup.policy", "compact")
	for _, name := range []string{"kept", "recompressed", "compacted"} {
		awaitLed(t, p, name, 1)
	}
	before, err := p.Memory()
	if err != nil {
		t.Skipf("resident memory of a process is not to be had here: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*testTimeout)
	defer cancel()
	b := bomb()
	clients := min(2*runtime.GOMAXPROCS(0), 16) // more than get a turn at a time
	var conns sync.WaitGroup
	for range clients {
		cl := byName(t, p)
		conns.Go(func() {
			for name, want := range map[string]error{"kept": nil, "recompressed": kerr.MessageTooLarge, "compacted": kerr.MessageTooLarge} {
				if err := produceRaw(ctx, cl, name, b); !errors.Is(err, want) {
					t.Errorf("%s: %v, want %v", name, err, want)
				}
			}
			if offset, err := offsetAtTime(ctx, cl, "kept", 1); err != nil || offset != 0 {
				t.Errorf("offset by time: %d, %v", offset, err)
			}
		})
	}
	conns.Wait()
	most, err := peakMemory(p.Pid())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes sent, resident memory %d MiB before, %d MiB at most", len(b), before>>20, most>>20)
	if limit := int64(640) << 20; most-before > limit {
		t.Errorf("resident memory grew by %d MiB, at most %d are allowed", (most-before)>>20, limit>>20)
	}
}

// peakMemory is the most memory, in bytes, that a process has had resident.
func peakMemory(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(b), "VmHWM:")
	var kib int64
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		return 0, err
	}
	return kib << 10, nil
}

// offsetAtTime asks for the first record of partition 0 that is not older than ts.
func offsetAtTime(ctx context.Context, cl *kgo.Client, topic string, ts int64) (int64, error) {
	req := kmsg.NewPtrListOffsetsRequest()
	rt, rp := kmsg.NewListOffsetsRequestTopic(), kmsg.NewListOffsetsRequestTopicPartition()
	rt.Topic, rp.Timestamp = topic, ts
	rt.Partitions = append(rt.Partitions, rp)
	req.ReplicaID, req.Topics = -1, append(req.Topics, rt)
	resp, err := cl.SeedBrokers()[0].Request(ctx, req)
	if err != nil {
		return -1, err
	}
	found := resp.(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0]
	return found.Offset, kerr.ErrorForCode(found.ErrorCode)
}
