package bench

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// warmMemory is memory of which every page has been used a moment ago. A virtual machine may give what is free back to its host,
// and then whoever uses a page next pays for it anew, 2 seconds for each GiB, which is more than most of what is measured here. So
// as much is freed as others take, while they take it.
type warmMemory struct {
	mem  []byte
	held int   // how much of mem is not freed yet
	free int64 // bytes that the system had free when all was held
	stop chan struct{}
	done sync.WaitGroup
}

const (
	// warmPiece is freed at a time: two huge pages, so that neighbours become free together.
	warmPiece = 4 << 20
	// warmEvery is how often is looked: the fastest writers take some ten pieces in that time.
	warmEvery = 10 * time.Millisecond
)

// holdWarm takes warm memory for others to write so many bytes to files, at most an eighth of what there is, and frees it as they take
// memory, until release is called.
func holdWarm(writes int64) (*warmMemory, error) {
	w := &warmMemory{stop: make(chan struct{})}
	free, available, err := freeMemory()
	if err != nil {
		return nil, err
	}
	n := min(writes+writes/8, available/8, free/2) / warmPiece * warmPiece
	if n == 0 {
		return w, nil
	}
	if w.mem, err = unix.Mmap(-1, 0, int(n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON); err != nil {
		return nil, fmt.Errorf("hold memory: %w", err)
	}
	_ = unix.Madvise(w.mem, unix.MADV_HUGEPAGE) // where there are none, small ones do
	for i := 0; i < len(w.mem); i += os.Getpagesize() {
		w.mem[i] = 1
	}
	if w.free, _, err = freeMemory(); err != nil {
		return nil, err
	}
	w.held = len(w.mem)
	w.done.Go(w.follow)
	return w, nil
}

// follow frees what others take.
func (w *warmMemory) follow() {
	tick := time.NewTicker(warmEvery)
	defer tick.Stop()
	for w.held > 0 {
		select {
		case <-w.stop:
			return
		case <-tick.C:
		}
		if free, _, err := freeMemory(); err == nil {
			w.give(w.free - free)
		}
	}
}

// give frees what others have taken, so many bytes.
func (w *warmMemory) give(taken int64) {
	for ; taken > 0 && w.held > 0; taken -= warmPiece {
		w.held -= warmPiece
		_ = unix.Madvise(w.mem[w.held:w.held+warmPiece], unix.MADV_DONTNEED)
	}
}

// release frees all.
func (w *warmMemory) release() error {
	close(w.stop)
	w.done.Wait()
	if w.mem == nil {
		return nil
	}
	return unix.Munmap(w.mem)
}

// freeMemory is how many bytes the system has that nobody uses, and how many it could have.
func freeMemory() (free, available int64, err error) {
	info, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, 0, err
	}
	for line := range bytes.Lines(info) {
		var kib int64
		if n, _ := fmt.Sscanf(string(line), "MemFree: %d kB", &kib); n == 1 {
			free = kib << 10
		}
		if n, _ := fmt.Sscanf(string(line), "MemAvailable: %d kB", &kib); n == 1 {
			return free, kib << 10, nil
		}
	}
	return 0, 0, errors.New("/proc/meminfo has no MemAvailable")
}
