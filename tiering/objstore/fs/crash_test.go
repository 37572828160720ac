package fs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"

	"firn/segment/vfs"
	"firn/segment/vfs/faultfs"
	"firn/tiering/objstore"
	"firn/tiering/objstore/fs"
)

const bucketDir = "/data/bucket"

// read returns an object's bytes, nil if it is not there.
func read(b objstore.Bucket, key string) ([]byte, error) {
	body, err := b.Get(context.Background(), key, 0, -1)
	if errors.Is(err, objstore.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return io.ReadAll(body)
}

// model is what must be in the bucket after a power cut: each key's bytes, nil if it is not there. A
// change under way may have happened or not.
type model struct {
	durable map[string][]byte
	key     string // of the change under way
	value   []byte
}

func (m *model) check(b objstore.Bucket) error {
	seen := 0
	for key, want := range m.durable {
		got, err := read(b, key)
		if err != nil {
			return err
		}
		if got != nil {
			seen++
		}
		if !bytes.Equal(got, want) && (key != m.key || !bytes.Equal(got, m.value)) {
			return fmt.Errorf("%s holds %.20q (%d bytes), want %.20q (%d bytes)", key, got, len(got), want, len(want))
		}
	}
	listed := 0
	err := b.List(context.Background(), "", "", func(objstore.Info) error { listed++; return nil })
	if err == nil && listed != seen {
		err = fmt.Errorf("%d objects, but %d are listed", seen, listed)
	}
	return err
}

// The power is cut before each step that changes the disk, of puts and deletes that share directories.
func TestPowerCut(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 0))
			disk := vfs.NewMem()
			inj := &faultfs.Injector{}
			b := open(t, faultfs.Wrap(disk, inj), bucketDir)
			m := &model{durable: map[string][]byte{}}
			keys := []string{"a", "b/1", "b/2", "c/d/e/1", "c/d/e/2", "c/f", "g h/ü"}
			for _, key := range keys {
				m.durable[key] = nil
			}
			cuts := 0
			inj.Add(faultfs.Rule{Times: -1, Do: func(op faultfs.Op, name string) {
				if !op.Changes() || t.Failed() {
					return
				}
				cuts++
				for _, kept := range []int{0, 50, 100} {
					after, err := fs.Open(disk.CrashClone(seed, kept), bucketDir)
					if err == nil {
						err = m.check(after)
					}
					if err != nil {
						t.Errorf("power cut before %s %s, %d %% kept: %v", op, name, kept, err)
					}
				}
			}})
			for range 60 {
				m.key = keys[rng.IntN(len(keys))]
				if rng.IntN(3) == 0 {
					m.value = nil
					if err := b.Delete(t.Context(), m.key); err != nil {
						t.Fatal(err)
					}
				} else {
					m.value = bytes.Repeat([]byte{byte(rng.IntN(256))}, 1+rng.IntN(20000))
					if _, err := b.Put(t.Context(), m.key, bytes.NewReader(m.value), objstore.Condition{}); err != nil {
						t.Fatal(err)
					}
				}
				m.durable[m.key] = m.value
			}
			if cuts < 200 {
				t.Errorf("only %d power cuts", cuts)
			}
		})
	}
}

// A directory that is there need not be durable: another process may have made it a moment ago, or have
// been killed before it could sync. What is acknowledged in it must survive all the same.
func TestPowerCutInOthersDirectory(t *testing.T) {
	disk := vfs.NewMem()
	b := open(t, disk, bucketDir)
	if err := disk.MkdirAll("/elsewhere/d/e"); err != nil {
		t.Fatal(err)
	}
	if err := disk.Rename("/elsewhere/d", bucketDir+"/d"); err != nil { // which nobody syncs
		t.Fatal(err)
	}
	if _, err := b.Put(t.Context(), "d/e/k", strings.NewReader("x"), objstore.Condition{}); err != nil {
		t.Fatal(err)
	}
	if got, err := read(open(t, disk.CrashClone(1, 0), bucketDir), "d/e/k"); err != nil || string(got) != "x" {
		t.Errorf("after the power cut: %q, %v", got, err)
	}
}

// A put that cannot be finished leaves the old object, and nothing else.
func TestPutFails(t *testing.T) {
	cases := map[string]faultfs.Rule{
		"create":     {Op: faultfs.Create, Err: syscall.EMFILE},
		"write":      {Op: faultfs.WriteAt, Err: syscall.ENOSPC, Short: 100},
		"later":      {Op: faultfs.WriteAt, Nth: 2, Err: syscall.EIO},
		"sync":       {Op: faultfs.Sync, Err: syscall.EIO},
		"stat":       {Op: faultfs.Stat, Err: syscall.EIO},
		"make dir":   {Op: faultfs.MkdirAll, Err: syscall.ENOSPC},
		"rename":     {Op: faultfs.Rename, Err: syscall.EIO},
		"lock":       {Op: faultfs.Lock, Err: syscall.EIO},
		"close temp": {Op: faultfs.Close, Err: syscall.EIO},
	}
	for name, rule := range cases {
		t.Run(name, func(t *testing.T) {
			disk := vfs.NewMem()
			inj := &faultfs.Injector{}
			b := open(t, faultfs.Wrap(disk, inj), bucketDir)
			key := "dir/k"
			if name == "make dir" {
				key = "new/k"
			} else if _, err := b.Put(t.Context(), key, strings.NewReader("old"), objstore.Condition{}); err != nil {
				t.Fatal(err)
			}
			armed := inj.Add(rule)
			_, err := b.Put(t.Context(), key, bytes.NewReader(make([]byte, 3<<20)), objstore.Condition{})
			if !errors.Is(err, rule.Err) || armed.Hits() != 1 {
				t.Errorf("put: %v, want %v", err, rule.Err)
			}
			want := "old"
			if name == "make dir" {
				want = ""
			}
			if got, err := read(b, key); err != nil || string(got) != want {
				t.Errorf("holds %.20q, %v, want %q", got, err, want)
			}
			if left := tempFiles(t, disk); len(left) != 0 {
				t.Errorf("left behind: %q", left)
			}
			// And it goes on working.
			if _, err := b.Put(t.Context(), key, strings.NewReader("new"), objstore.Condition{}); err != nil {
				t.Errorf("put afterwards: %v", err)
			}
		})
	}
}

func TestDiskFull(t *testing.T) {
	disk := vfs.NewMem()
	b := open(t, disk, bucketDir)
	disk.SetCapacity(1 << 20)
	if _, err := b.Put(t.Context(), "k", bytes.NewReader(make([]byte, 2<<20)), objstore.Condition{}); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("put: %v, want no space", err)
	}
	if _, err := b.Put(t.Context(), "k", bytes.NewReader(make([]byte, 1<<19)), objstore.Condition{}); err != nil {
		t.Errorf("the failed put keeps its space: %v", err)
	}
}

// tempFiles returns what lies in the directories for temporary files but their locks.
func tempFiles(t *testing.T, fsys vfs.FS) []string {
	t.Helper()
	var files []string
	temps, err := fsys.ReadDir(bucketDir + "/.firn/tmp")
	if err != nil {
		t.Fatal(err)
	}
	for _, temp := range temps {
		entries, err := fsys.ReadDir(bucketDir + "/.firn/tmp/" + temp.Name())
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.Name() != "lock" {
				files = append(files, temp.Name()+"/"+e.Name())
			}
		}
	}
	slices.Sort(files)
	return files
}
