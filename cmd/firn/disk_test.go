//go:build root && linux

package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"firn/broker/brokertest"
)

// disk is a file system of a test's own on a loop device. What it has not synced is lost by cut, as in a
// power cut.
type disk struct {
	t          *testing.T
	kind       string
	image, dir string
}

func newDisk(t *testing.T, kind string, size int64) *disk {
	t.Helper()
	d := &disk{t: t, kind: kind, image: filepath.Join(t.TempDir(), "image"), dir: filepath.Join(t.TempDir(), "mnt")}
	f, err := os.Create(d.image)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(size), f.Close(), os.Mkdir(d.dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	d.format()
	d.mount()
	t.Cleanup(func() { _ = exec.Command("umount", "-l", d.dir).Run() })
	return d
}

func (d *disk) run(name string, args ...string) {
	d.t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		d.t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

func (d *disk) format() {
	d.t.Helper()
	force := map[string]string{"ext4": "-F", "xfs": "-f"}[d.kind] // it may have been in use
	d.run("mkfs."+d.kind, "-q", force, d.image)
}

func (d *disk) mount() {
	d.t.Helper()
	d.run("mount", "-o", "loop", d.image, d.dir)
}

// cut stops the file system at once: nothing that was not synced reaches the image.
func (d *disk) cut() {
	d.t.Helper()
	d.run("xfs_io", "-x", "-c", "shutdown", d.dir)
}

// revive mounts what the cut left. Nobody may use the disk any more.
func (d *disk) revive() {
	d.t.Helper()
	d.unmount()
	d.mount()
}

// replace puts an empty disk in the place of this one. Nobody may use it any more.
func (d *disk) replace() {
	d.t.Helper()
	d.unmount()
	d.format()
	d.mount()
}

func (d *disk) unmount() {
	d.t.Helper()
	brokertest.Eventually(d.t, "the file system is free", func() (bool, error) {
		out, err := exec.Command("umount", d.dir).CombinedOutput()
		return err == nil, errors.Join(err, errors.New(string(out)))
	})
}

// fill leaves so many bytes of the disk free, or a little more, until it is told to free the rest again.
func (d *disk) fill(leave int64) (free func()) {
	d.t.Helper()
	ballast := filepath.Join(d.dir, "ballast")
	brokertest.Eventually(d.t, "the disk is full", func() (bool, error) { // others take some of it meanwhile
		var st syscall.Statfs_t
		if err := syscall.Statfs(d.dir, &st); err != nil {
			return false, err
		}
		room := int64(st.Bavail)*st.Bsize - leave
		leave += 64 << 10
		return room <= 0 || exec.Command("fallocate", "-l", strconv.FormatInt(room, 10), ballast).Run() == nil, nil
	})
	return func() {
		dir, err := os.Open(d.dir)
		if err != nil {
			d.t.Fatal(err)
		}
		defer dir.Close()
		if err := errors.Join(os.RemoveAll(ballast), dir.Sync()); err != nil { // a power cut does not bring it back
			d.t.Fatal(err)
		}
	}
}
