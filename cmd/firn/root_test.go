//go:build root && linux

package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"firn/broker/brokertest"
)

// Power cuts and kills in random order, on durable topics, with sealed segments moving to a bucket on the same
// disk and their local copies dropped: whatever was acknowledged is there, once. A cut after a kill takes what
// the killed process left in the page cache, also where a retry had been acknowledged in between.
func TestPowerCuts(t *testing.T) {
	for _, kind := range []string{"ext4", "xfs"} {
		t.Run(kind, func(t *testing.T) {
			d := newDisk(t, kind, 4<<30)
			r := newCrashRig(t, filepath.Join(d.dir, "firn"))
			for range envInt(t, "FIRN_TEST_CUT_ROUNDS", 6) {
				r.live(1500 * time.Millisecond)
				if r.rng.IntN(3) == 0 {
					r.p.Kill()
					r.p.Restart()
					r.live(100 * time.Millisecond)
				}
				// What runs on after the cut of a file system, as nothing does after that of power, may be told that a
				// sync succeeded that did not: both ext4 and xfs do that to any program.
				r.p.Signal(syscall.SIGSTOP)
				d.cut()
				r.p.Kill()
				d.revive()
				r.p.Restart()
			}
			r.finish()
		})
	}
}

// A disk that fills refuses records with an error that names the disk, keeps what it acknowledged, and takes
// records again once there is room.
func TestFullDisk(t *testing.T) {
	d := newDisk(t, "ext4", 512<<20)
	ballast := filepath.Join(d.dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 64<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	p := brokertest.StartIn(t, filepath.Join(d.dir, "firn"), "--tier", "none",
		"--set", "disk.free.low=25%,128MiB", "--set", "disk.free.very.low=20%,96MiB", "--set", "disk.free.full=15%,64MiB",
		"--set", "log.retention.check.interval.ms=100")
	cl, err := kgo.NewClient(kgo.SeedBrokers(p.Bootstrap), kgo.AllowAutoTopicCreation(), kgo.RecordRetries(3), kgo.ProducerLinger(0),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.MaxProduceRequestsInflightPerBroker(1))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	value := bytes.Repeat([]byte("0123456789abcdef"), 40_000)
	acked := 0
	for err == nil {
		if err = cl.ProduceSync(ctx, &kgo.Record{Topic: "full", Value: value}).FirstErr(); err == nil {
			acked++
		}
		if int64(acked*len(value)) > 512<<20 {
			t.Fatal("the disk took more than it holds")
		}
	}
	if !errors.Is(err, kerr.KafkaStorageError) {
		t.Fatalf("after %d records: %v, want KAFKA_STORAGE_ERROR", acked, err)
	}
	t.Logf("refused after %d records of %d bytes", acked, len(value))
	if got := countRecords(ctx, t, p, "full", value, acked); got != acked {
		t.Fatalf("%d records readable, %d acknowledged", got, acked)
	}
	if err := os.WriteFile(filepath.Join(d.dir, "marker"), nil, 0o600); err != nil {
		t.Fatalf("the broker left no room at all: %v", err)
	}
	p.Stop()
	p.Restart()
	if got := countRecords(ctx, t, p, "full", value, acked); got != acked {
		t.Fatalf("%d records readable after a restart, %d acknowledged", got, acked)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	cl, err = kgo.NewClient(kgo.SeedBrokers(p.Bootstrap), kgo.ProducerLinger(0), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.ProduceSync(ctx, &kgo.Record{Topic: "full", Value: value}).FirstErr(); err != nil {
		t.Fatalf("there is room, but: %v", err)
	}
	if got := countRecords(ctx, t, p, "full", value, acked+1); got != acked+1 {
		t.Fatalf("%d records readable, %d acknowledged", got, acked+1)
	}
}

func countRecords(ctx context.Context, t *testing.T, p *brokertest.Process, topic string, value []byte, want int) int {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(p.Bootstrap), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	n := 0
	for n < want {
		fs := cl.PollFetches(ctx)
		if err := fs.Err(); err != nil {
			t.Fatalf("after %d records: %v", n, err)
		}
		fs.EachRecord(func(r *kgo.Record) {
			if !bytes.Equal(r.Value, value) {
				t.Fatalf("offset %d: other bytes than were written", r.Offset)
			}
			n++
		})
	}
	return n
}
