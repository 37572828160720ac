package main

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"firn/broker/brokertest"
	"firn/broker/brokertest/history"
	"firn/broker/brokertest/history/drive"
)

// The tests of this file break a broker on purpose, from outside, to see that those who look for faults would find them.

func newLiarRig(t *testing.T) *crashRig {
	t.Helper()
	return startRig(t, brokertest.Start(t, "--set", "log.retention.check.interval.ms=200"), drive.Options{
		Gap: 2 * time.Millisecond, Readers: 1, Members: 1,
	})
}

// A broker whose disk is put back to what it was a moment ago loses records and commits that it had acknowledged, and gives
// their offsets to others.
func TestDroppedRecordsAreNoticed(t *testing.T) {
	t.Parallel()
	r := newLiarRig(t)
	r.stillServing()
	backup := filepath.Join(t.TempDir(), "backup")
	r.p.Kill()
	copyFiles(t, backup, r.p.Dir)
	r.p.Restart()
	kept, polled := r.acked(), r.d.Polled()
	r.stillServing()
	r.p.Eventually("members read on", func() (bool, error) { return r.d.Polled() > polled+200, nil })
	r.p.Kill()
	if err := os.RemoveAll(r.p.Dir); err != nil {
		t.Fatal(err)
	}
	copyFiles(t, r.p.Dir, backup)
	r.p.Restart()
	lost := r.acked() - kept
	r.p.Eventually("the offsets are given again", func() (bool, error) { return r.acked() > kept+3*lost, nil })
	if report := r.judge(); report.Valid || report.Found(history.InconsistentOffsets) == 0 {
		t.Errorf("no offset was given twice in %v", report)
	}
}

// copyFiles copies a directory, but for sockets.
func copyFiles(t *testing.T, to, from string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() && !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), b, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A record that is there a second time, under another producer's name.
func TestDuplicatedRecordsAreNoticed(t *testing.T) {
	t.Parallel()
	r := newLiarRig(t)
	r.stillServing()
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	cl := kafkaClient(t, r.p, kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"kill": {2: kgo.NewOffset().At(0)}}))
	first := cl.PollRecords(ctx, 1)
	if err := first.Err(); err != nil {
		t.Fatal(err)
	}
	sent := first.Records()[0]
	again := &kgo.Record{Topic: "kill", Partition: 2, Key: sent.Key, Value: sent.Value, Headers: sent.Headers, Timestamp: sent.Timestamp}
	if err := cl.ProduceSync(ctx, again).FirstErr(); err != nil {
		t.Fatal(err)
	}
	r.stillServing()
	if report := r.judge(); report.Found(history.Duplicate) != 1 || report.Valid {
		t.Errorf("no duplicate in %v", report)
	}
}
