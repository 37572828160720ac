package vfs

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// A single pwritev takes 2 GiB less a page: the rest goes on in the middle of a buffer.
func TestWriteVGoesOnAfterAPartialWrite(t *testing.T) {
	f, err := OS().OpenRW(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p := make([]byte, 4<<20)
	bufs := make([][]byte, 700)
	for i := range bufs {
		bufs[i] = p
	}
	if n, err := f.WriteV(bufs, 0); err != nil || n != 700*4<<20 {
		t.Errorf("wrote %d, %v", n, err)
	}
}

func TestErrorsNameTheFile(t *testing.T) {
	f, err := OS().OpenRW("/dev/full")
	if err != nil {
		t.Skip(err)
	}
	defer f.Close()
	_, one := f.WriteAt([]byte("x"), 0)
	_, many := f.WriteV([][]byte{[]byte("x"), []byte("y")}, 0)
	for _, err := range []error{one, many} {
		var pe *fs.PathError
		if !errors.Is(err, syscall.ENOSPC) || !errors.As(err, &pe) || pe.Path != "/dev/full" {
			t.Errorf("got %v", err)
		}
	}
}

// Close beside a call under way must not let it reach another file under the same number.
func TestCloseWaitsForCallsUnderWay(t *testing.T) {
	f, err := openFile("create", filepath.Join(t.TempDir(), "a"), syscall.O_RDWR|syscall.O_CREAT)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.acquire("test"); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Fsync(f.fd); err != nil {
		t.Errorf("the descriptor is gone under the call: %v", err)
	}
	if _, err := f.WriteAt([]byte("x"), 0); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("a new call: %v", err)
	}
	f.release()
	if err := syscall.Fsync(f.fd); err == nil {
		t.Error("the descriptor stayed open")
	}
}

// The lock is between processes, and goes with the process.
func TestLockHoldsAgainstAnotherProcess(t *testing.T) {
	if name := os.Getenv("FIRN_TEST_LOCK"); name != "" {
		_, err := OS().Lock(name)
		if errors.Is(err, ErrLocked) {
			os.Exit(3)
		}
		if err != nil {
			os.Exit(4)
		}
		os.Exit(0)
	}
	name := filepath.Join(t.TempDir(), "lock")
	child := func() int {
		cmd := exec.Command(os.Args[0], "-test.run=^TestLockHoldsAgainstAnotherProcess$")
		cmd.Env = append(os.Environ(), "FIRN_TEST_LOCK="+name)
		_ = cmd.Run()
		return cmd.ProcessState.ExitCode()
	}
	if code := child(); code != 0 {
		t.Fatalf("free lock: exit %d", code)
	}
	l, err := OS().Lock(name)
	if err != nil {
		t.Fatalf("the lock outlived its process: %v", err)
	}
	defer l.Close()
	if code := child(); code != 3 {
		t.Errorf("held lock: exit %d", code)
	}
}

func TestReadsAndWritesDoNotAllocate(t *testing.T) {
	f, err := OS().Create(filepath.Join(t.TempDir(), "a"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p := make([]byte, 8192)
	bufs := [][]byte{p[:100], p[100:]}
	if _, err := f.WriteAt(p, 0); err != nil {
		t.Fatal(err)
	}
	m, err := f.Map(8192)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	n := testing.AllocsPerRun(100, func() {
		_, werr := f.WriteV(bufs, 0)
		_, rerr := f.ReadAt(p, 0)
		if err := errors.Join(werr, rerr, m.CopyAt(p, 0, true), m.CopyAt(p, 0, false)); err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkCopyAt(b *testing.B) {
	f, err := OS().Create(filepath.Join(b.TempDir(), "a"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(make([]byte, 1<<20), 0); err != nil {
		b.Fatal(err)
	}
	m, err := f.Map(1 << 20)
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	p := make([]byte, 4096)
	for name, read := range map[string]func(off int64) error{
		"warm":  func(off int64) error { return m.CopyAt(p, off, false) },
		"cold":  func(off int64) error { return m.CopyAt(p, off, true) },
		"pread": func(off int64) error { _, err := f.ReadAt(p, off); return err },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			off := int64(0)
			for b.Loop() {
				off = (off + 4096) & (1<<20 - 1)
				if err := read(off); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
