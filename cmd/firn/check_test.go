package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"firn/segment"
	"firn/segment/batch"
	"firn/segment/vfs"
)

// logDir makes a log directory with one partition of three batches and returns it with its segment file.
func logDir(t *testing.T) (dir, file string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "log")
	if err := os.MkdirAll(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	d, err := segment.OpenDisk(segment.DiskOptions{FS: vfs.OS(), Dir: dir, ClusterID: "c", BrokerID: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.SetBrokerEpoch(1); err != nil {
		t.Fatal(err)
	}
	l, err := d.Open([16]byte{7}, 0, segment.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		w := batch.Builder{BaseOffset: int64(i)}
		w.Add(time.Now().UnixMilli(), nil, []byte(strings.Repeat("v", 1000)))
		b, err := w.Build(nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Append([]batch.Batch{batch.Batch(b)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(true); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*", "*.log"))
	if err != nil || len(files) != 1 {
		t.Fatalf("segments %q, %v", files, err)
	}
	return dir, files[0]
}

func TestCheck(t *testing.T) {
	dir, file := logDir(t)
	if out := firn(t, "", "", "check", dir).ok(t); out != "nothing found\n" {
		t.Errorf("a good directory: %q", out)
	}
	if out := firn(t, "", "", "check", dir, "--json").ok(t); out != "[]\n" {
		t.Errorf("a good directory: %q", out)
	}

	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	data[500] ^= 1
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	r := firn(t, "", "", "check", dir, "--json")
	r.fails(t, exitError, "damage")
	var found []finding
	if err := json.Unmarshal([]byte(r.out), &found); err != nil || len(found) == 0 || found[0].Path != file || found[0].Harmless {
		t.Errorf("found %+v, %v", found, err)
	}
	r = firn(t, "", "", "check", dir)
	if r.fails(t, exitError, "damage"); !strings.Contains(r.out, file) {
		t.Errorf("found %q", r.out)
	}
	firn(t, "", "", "check", t.TempDir()).fails(t, exitError, "not a log directory, one of log.dirs: ")
}

func TestCheckInUse(t *testing.T) {
	dir, _ := logDir(t)
	d, err := segment.OpenDisk(segment.DiskOptions{FS: vfs.OS(), Dir: dir, ClusterID: "c", BrokerID: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close(true) }()
	firn(t, "", "", "check", dir).fails(t, exitError, "check: ")
}

func TestCheckInterrupted(t *testing.T) {
	dir, _ := logDir(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, errOut strings.Builder
	if code := run(ctx, testApp("", nil, &out, &errOut), []string{"check", dir}); code != exitError || !strings.Contains(errOut.String(), "interrupted") {
		t.Errorf("exit code %d, %q", code, errOut.String())
	}
}
