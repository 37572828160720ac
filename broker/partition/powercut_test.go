package partition

import (
	"fmt"
	"maps"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"firn/metadata/topic"
	"firn/segment/vfs"
	"firn/segment/vfs/faultfs"
)

// The process is killed before a batch is synced: only the page cache has it. The broker that comes after acknowledges the
// retry, and then the power fails: the batch is there, once, and nobody was told of it too early.
func TestRetryAnsweredAfterAKillSurvivesThePowerCut(t *testing.T) {
	for name, conf := range map[string]topic.Config{"durable": durableConfig(), "made durable": relaxedConfig()} {
		t.Run(name, func(t *testing.T) {
			mem := vfs.NewMem()
			var inject faultfs.Injector
			conf.Flush.Ms = 3600_000
			g := newRig(t, faultfs.Wrap(mem, &inject))
			r := g.lead(conf)
			syncs := holdSyncs(&inject)
			defer syncs.release()
			original := start(r, AcksAll, idempotent(t, 1, 0, 0, 3, "v"))
			if conf.Flush.Durable() {
				<-syncs.in
				if !original.pending() {
					t.Fatal("acknowledged before the sync")
				}
			}
			killed := mem.KillClone()

			g = newRig(t, killed)
			conf = durableConfig()
			r = g.lead(conf)
			for _, acks := range []int16{AcksAll, AcksLeader} {
				if a := start(r, acks, idempotent(t, 1, 0, 0, 3, "v")).wait(t); a.Err != nil || a.BaseOffset != 0 {
					t.Errorf("retry with acks=%d: %v at %d", acks, a.Err, a.BaseOffset)
				}
			}
			cut := killed.CrashClone(2, 0)

			g = newRig(t, cut)
			r = g.lead(conf)
			if got := values(t, g, r, 0); len(got) != 3 {
				t.Errorf("after the power cut: %v", got)
			}
			if base := appendOK(t, r, idempotent(t, 1, 0, 0, 3, "v")); base != 0 {
				t.Errorf("a retry after that is at %d", base)
			}
			if base := appendOK(t, r, idempotent(t, 1, 0, 3, 1, "w")); base != 3 {
				t.Errorf("the next is at %d", base)
			}
		})
	}
}

// ledger is what a test's producers know: what was acknowledged, and what each one sent last.
type ledger struct {
	mu    sync.Mutex
	acked map[int64]string
	sent  map[int]int // sequence by producer
}

func (l *ledger) copy() (acked map[int64]string, sent map[int]int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.acked), maps.Clone(l.sent)
}

// The power fails again and again under load. Everything acknowledged before is there, at its offset; every retry of the
// last batch of each producer ends up in the log exactly once.
func TestPowerCutsUnderLoad(t *testing.T) {
	const producers = 20
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	mem := vfs.NewMem()
	conf := durableConfig()
	conf.Segment.Bytes = 8 << 10
	l := &ledger{acked: map[int64]string{}, sent: map[int]int{}}
	for cut := range 8 {
		g := newRig(t, mem)
		r := g.lead(conf)
		stop := make(chan struct{})
		var group sync.WaitGroup
		for p := range producers {
			group.Go(func() { keepProducing(t, r, l, p, stop) })
		}
		until(t, "enough was acknowledged", func() bool {
			acked, _ := l.copy()
			return len(acked) >= (cut+1)*300
		})
		acked, _ := l.copy() // known before the cut
		mem = mem.CrashClone(seed+uint64(cut), 30)
		close(stop)
		group.Wait()
		g.close(false)
		l.checkAfter(t, mem, conf.Segment.Bytes, acked)
	}
}

// keepProducing sends batches of one record, beginning with a retry of the last one sent, which may or may not be there.
func keepProducing(t *testing.T, r *Replica, l *ledger, p int, stop chan struct{}) {
	l.mu.Lock()
	seq := l.sent[p]
	l.mu.Unlock()
	for {
		select {
		case <-stop:
			return
		default:
		}
		l.mu.Lock()
		l.sent[p] = seq
		l.mu.Unlock()
		value := fmt.Sprintf("%d-%d", p, seq)
		a := start(r, AcksAll, idempotent(t, int64(p), 0, int32(seq), 1, value)).wait(t)
		if a.Err != nil {
			t.Error(a.Err)
			return
		}
		l.mu.Lock()
		if old, ok := l.acked[a.BaseOffset]; ok && old != value {
			t.Errorf("offset %d was given to %s and %s", a.BaseOffset, old, value)
		}
		l.acked[a.BaseOffset] = value
		l.mu.Unlock()
		seq++
	}
}

// checkAfter compares what a cut left with what was acknowledged before, and makes it what the producers know: those
// whose last batches did not make it send them again.
func (l *ledger) checkAfter(t *testing.T, mem *vfs.Mem, segmentBytes int32, acked map[int64]string) {
	t.Helper()
	conf := durableConfig()
	conf.Segment.Bytes = segmentBytes
	g := newRig(t, mem.CrashClone(0, 100)) // a look that changes nothing
	got := values(t, g, g.lead(conf), 0)
	for offset, value := range acked {
		if got[offset] != value {
			t.Errorf("offset %d: %q was acknowledged, %q is there", offset, value, got[offset])
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	seen, next := map[string]int64{}, map[int]int{}
	for offset := range int64(len(got)) {
		value := got[offset]
		if at, twice := seen[value]; twice {
			t.Errorf("%s is at %d and at %d", value, at, offset)
		}
		seen[value] = offset
		var p, seq int
		if _, err := fmt.Sscanf(value, "%d-%d", &p, &seq); err != nil || seq != next[p] {
			t.Errorf("offset %d holds %q, want sequence %d", offset, value, next[p])
		}
		next[p] = seq + 1
	}
	l.acked = got
	for p, n := range next {
		l.sent[p] = n - 1 // a retry of the last batch that is there
	}
	for p := range l.sent {
		if next[p] == 0 {
			l.sent[p] = 0
		}
	}
}

// Rot raises the leader epoch of a batch past the checkpoint, which no CRC covers. Where it is known that nobody has led at
// that epoch the batch goes, and the leaders that come can lead; else it would be taken for the work of one of them.
func TestRottenEpochKeepsNobodyFromLeading(t *testing.T) {
	for _, known := range []bool{true, false} {
		mem := vfs.NewMem()
		next := func(o *Options) {
			if known {
				o.NextEpoch = func(topic.Partition) int32 { return 2 }
			}
		}
		g := newRig(t, mem, next)
		r := g.lead(durableConfig())
		size := len(records(t, 1, "v"))
		appendOK(t, r, records(t, 1, "v"))
		appendOK(t, r, records(t, 1, "w"))
		killed := mem.KillClone()
		f, err := killed.OpenRW(onlyLog(t, killed))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte{7}, int64(size)+12+3); err != nil {
			t.Fatal(err)
		}
		_ = f.Close()

		g = newRig(t, killed, next)
		r = g.open(testTP, durableConfig())
		if err := r.BecomeLeader(alone(2)); known != (err == nil) {
			t.Errorf("known %v: leads at 2: %v", known, err)
		}
		if got := r.Offsets().LogEnd; known != (got == 1) {
			t.Errorf("known %v: the log ends at %d", known, got)
		}
	}
}

// onlyLog is the path of the one segment there is.
func onlyLog(t *testing.T, fsys vfs.FS) string {
	t.Helper()
	dirs, err := fsys.ReadDir("/data")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		names, _ := fsys.ReadDir(filepath.Join("/data", d.Name()))
		for _, n := range names {
			if filepath.Ext(n.Name()) == ".log" {
				return filepath.Join("/data", d.Name(), n.Name())
			}
		}
	}
	t.Fatal("no segment")
	return ""
}
