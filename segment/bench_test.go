package segment

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"firn/segment/batch"
	"firn/segment/vfs"
)

func benchDisk(b *testing.B) *Disk {
	b.Helper()
	d, err := OpenDisk(DiskOptions{FS: vfs.OS(), Dir: filepath.Join(b.TempDir(), "data")})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = d.Close(false) })
	return d
}

// benchBatch returns a batch of about size bytes of 1 KiB records.
func benchBatch(b *testing.B, size int) batch.Batch {
	return makeBatch(b, 0, max(1, size/1024), min(size, 1024)-10, 0)
}

// keep is how many segments benchmarks leave, so that they do not fill the disk.
const benchKeep = 4 * DefaultSegmentBytes

func dropOld(b *testing.B, l *Log) {
	if l.Size() > benchKeep {
		if _, err := l.DropBefore(l.Next()-1, l.Next()-1); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{1 << 10, 16 << 10, 256 << 10} {
		b.Run(fmt.Sprintf("relaxed/%dKiB", size>>10), func(b *testing.B) {
			l := openLog(b, benchDisk(b), Options{})
			one := benchBatch(b, size)
			bs := []batch.Batch{one}
			b.SetBytes(int64(len(one)))
			b.ReportAllocs()
			defer reportCPU(b, len(one))()
			for b.Loop() {
				one.SetBaseOffset(l.Next())
				if _, err := l.Append(bs); err != nil {
					b.Fatal(err)
				}
				dropOld(b, l)
			}
		})
	}
	for _, size := range []int{16 << 10, 256 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("durable/%dKiB", size>>10), func(b *testing.B) {
			done := make(chan int64, 1)
			l := openLog(b, benchDisk(b), Options{Settings: Settings{FlushMessages: 1}, OnDurable: func(end int64) { done <- end }})
			one := benchBatch(b, size)
			bs := []batch.Batch{one}
			b.SetBytes(int64(len(one)))
			b.ReportAllocs()
			defer reportCPU(b, len(one))()
			for b.Loop() {
				one.SetBaseOffset(l.Next())
				end, err := l.Append(bs)
				if err != nil {
					b.Fatal(err)
				}
				for <-done < end {
				}
				dropOld(b, l)
			}
		})
	}
}

// BenchmarkRaw is what the file system does with the same bytes and nothing else.
func BenchmarkRaw(b *testing.B) {
	run := func(name string, size int, sync bool) {
		b.Run(fmt.Sprintf("%s/%dKiB", name, size>>10), func(b *testing.B) {
			one := benchBatch(b, size)
			dir := b.TempDir()
			var f *os.File
			var pos int64
			n := 0
			b.SetBytes(int64(len(one)))
			defer reportCPU(b, len(one))()
			for b.Loop() {
				if f == nil || pos > DefaultSegmentBytes {
					if f != nil {
						f.Close()
						_ = os.Remove(filepath.Join(dir, fmt.Sprint(n-4)))
					}
					var err error
					if f, err = os.Create(filepath.Join(dir, fmt.Sprint(n))); err != nil {
						b.Fatal(err)
					}
					n++
					pos = 0
				}
				if _, err := f.WriteAt(one, pos); err != nil {
					b.Fatal(err)
				}
				if sync {
					if err := f.Sync(); err != nil {
						b.Fatal(err)
					}
				}
				pos += int64(len(one))
			}
		})
	}
	run("write", 1<<10, false)
	run("write", 16<<10, false)
	run("write", 256<<10, false)
	run("sync", 16<<10, true)
	run("sync", 256<<10, true)
	run("sync", 1<<20, true)
}

func BenchmarkReadTail(b *testing.B) {
	l := openLog(b, benchDisk(b), Options{})
	one := benchBatch(b, 16<<10)
	for l.Size() < 64<<20 {
		one.SetBaseOffset(l.Next())
		mustAppend(b, l, one)
	}
	from := l.Next() - 16
	b.ReportAllocs()
	for b.Loop() {
		e, err := l.Read(from, l.Next(), 1<<20, true)
		if err != nil || e.Len() == 0 {
			b.Fatal(e, err)
		}
		e.Release()
	}
}

func BenchmarkReadMiddle(b *testing.B) {
	l := openLog(b, benchDisk(b), Options{})
	one := benchBatch(b, 16<<10)
	for l.Size() < 256<<20 {
		one.SetBaseOffset(l.Next())
		mustAppend(b, l, one)
	}
	b.ReportAllocs()
	from := int64(0)
	for b.Loop() {
		e, err := l.Read(from, l.Next(), 1<<20, true)
		if err != nil || e.Len() == 0 {
			b.Fatal(e, err)
		}
		if from = e.NextOffset() + 1; from >= l.Next() {
			from = 0
		}
		e.Release()
	}
}

// cpuTime is what this process has used, user and system.
func cpuTime() time.Duration {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// reportCPU reports the CPU time of the process since the call, by GiB of the bytes set.
func reportCPU(b *testing.B, bytes int) func() {
	before := cpuTime()
	return func() {
		used := (cpuTime() - before).Seconds()
		b.ReportMetric(used/(float64(b.N)*float64(bytes)/(1<<30)), "cpu-s/GiB")
	}
}

// BenchmarkDurablePartitions has eight partitions with a producer each that keeps five batches in
// flight, all durable. Compare with BenchmarkRaw/sync/1024KiB.
func BenchmarkDurablePartitions(b *testing.B) {
	for _, size := range []int{16 << 10, 256 << 10} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			const partitions, inFlight = 8, 5
			d := benchDisk(b)
			one := benchBatch(b, size)
			b.SetBytes(int64(len(one)))
			var left atomic.Int64
			left.Store(int64(b.N))
			var wg sync.WaitGroup
			defer reportCPU(b, len(one))()
			b.ResetTimer()
			for p := range int32(partitions) {
				wg.Go(func() {
					durable := make(chan int64, 1024)
					l, err := d.Open(testID, p, Options{Settings: Settings{FlushMessages: 1}, OnDurable: func(end int64) { durable <- end }})
					if err != nil {
						b.Error(err)
						return
					}
					mine := slices.Clone(one)
					records := one.NextOffset()
					for left.Add(-1) >= 0 {
						for end := l.Durable(); l.Next()-end >= inFlight*records; end = <-durable {
						}
						mine.SetBaseOffset(l.Next())
						mustAppend(b, l, mine)
						dropOld(b, l)
					}
					for end := l.Durable(); end < l.Next(); end = <-durable {
					}
				})
			}
			wg.Wait()
		})
	}
}

// BenchmarkRestart opens a thousand partitions after a clean stop and after a kill, with 256 KiB past
// the checkpoint in each.
func BenchmarkRestart(b *testing.B) {
	const partitions, parallel = 1000, 16
	dir := filepath.Join(b.TempDir(), "data")
	start := func(use func(l *Log)) (*Disk, time.Duration) {
		began := time.Now()
		d, err := OpenDisk(DiskOptions{FS: vfs.OS(), Dir: dir})
		if err != nil {
			b.Fatal(err)
		}
		var g errgroup.Group
		g.SetLimit(parallel)
		logs := make([]*Log, partitions)
		for p := range logs {
			g.Go(func() (err error) {
				logs[p], err = d.Open(testID, int32(p), Options{Producers: newCounter()})
				return err
			})
		}
		if err := g.Wait(); err != nil {
			b.Fatal(err)
		}
		took := time.Since(began)
		for _, l := range logs {
			use(l)
		}
		return d, took
	}
	one := benchBatch(b, 16<<10)
	fill := func(l *Log) {
		for range 16 {
			one.SetBaseOffset(l.Next())
			mustAppend(b, l, one)
			l.producers.Apply(one)
		}
	}
	d, took := start(fill)
	b.Logf("made in %v", took)
	for b.Loop() {
		began := time.Now()
		if err := d.Close(true); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(time.Since(began).Seconds(), "stop-s")
		d, took = start(fill)
		b.ReportMetric(took.Seconds(), "clean-s")
		if err := d.Close(false); err != nil {
			b.Fatal(err)
		}
		d, took = start(func(*Log) {})
		b.ReportMetric(took.Seconds(), "kill-s")
	}
	if err := d.Close(false); err != nil {
		b.Fatal(err)
	}
}
