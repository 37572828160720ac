package kvtest

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"firn/metadata"
)

func (x *exam) watchFromThePast() {
	x.put("/w/a", "0")
	rev := x.put("/w/a", "1", "/v", "outside")
	x.put("/w0", "outside")
	r2 := x.put("/w/b", "2")
	w := x.kv.Watch(x.ctx, "/w/", metadata.PrefixEnd("/w/"), rev)
	r3 := x.txn(metadata.Txn{Then: []metadata.Op{metadata.Delete("/w/a")}}).Rev
	r4 := x.put("/w/a", "3")

	want := []metadata.Event{
		{Entry: metadata.Entry{Key: "/w/a", Value: []byte("1"), CreateRev: rev - 1, ModRev: rev}},
		{Entry: metadata.Entry{Key: "/w/b", Value: []byte("2"), CreateRev: r2, ModRev: r2}},
		{Entry: metadata.Entry{Key: "/w/a", ModRev: r3}, Deleted: true},
		{Entry: metadata.Entry{Key: "/w/a", Value: []byte("3"), CreateRev: r4, ModRev: r4}},
	}
	for len(want) > 0 {
		b := x.next(w)
		if b.Err != nil {
			x.Fatalf("watch: %v", b.Err)
		}
		for _, ev := range b.Events {
			if len(want) == 0 || fmt.Sprint(ev) != fmt.Sprint(want[0]) || ev.ModRev > b.Rev {
				x.Fatalf("watched %+v in a batch up to %d, want %+v", ev, b.Rev, want)
			}
			want = want[1:]
		}
	}
}

func (x *exam) watchWholeRevisions() {
	const txns, keys = 40, 20
	rev := x.put("/w/first", "")
	w := x.kv.Watch(x.ctx, "/w/", metadata.PrefixEnd("/w/"), rev+1)
	var last int64
	for i := range txns {
		var pairs []string
		for k := range keys {
			pairs = append(pairs, "/w/"+strconv.Itoa(k), strconv.Itoa(i))
		}
		last = x.put(pairs...)
	}
	at := rev
	for at < last {
		b := x.next(w)
		if b.Err != nil {
			x.Fatalf("watch: %v", b.Err)
		}
		if len(b.Events)%keys != 0 {
			x.Fatalf("a batch of %d events cuts a revision of %d", len(b.Events), keys)
		}
		for _, ev := range b.Events {
			if ev.ModRev < at || ev.ModRev <= rev {
				x.Fatalf("revision %d after %d", ev.ModRev, at)
			}
			at = ev.ModRev
		}
		if b.Rev != at {
			x.Fatalf("batch says %d and ends at %d", b.Rev, at)
		}
	}
}

func (x *exam) compaction() {
	first := x.put("/c/a", "1", "/c/b", "1")
	var last int64
	for i := range 10 {
		last = x.put("/c/a", strconv.Itoa(i))
	}
	x.Compact(x.T, last)
	if _, err := x.kv.Range(x.ctx, "/c/", "/c0", first, 10); !errors.Is(err, metadata.ErrCompacted) {
		x.Errorf("range at a compacted revision: %v", err)
	}
	if page, err := x.kv.Range(x.ctx, "/c/", "/c0", 0, 10); err != nil || len(page.Entries) != 2 || page.Entries[1].ModRev != first {
		x.Errorf("range now: %+v, %v", page.Entries, err)
	}
	w := x.kv.Watch(x.ctx, "/c/", "/c0", first+1)
	if b := x.next(w); !errors.Is(b.Err, metadata.ErrCompacted) {
		x.Errorf("watch from a compacted revision: %+v", b)
	}
	if b, ok := <-w; ok {
		x.Errorf("after its end the watch delivers %+v", b)
	}
	w = x.kv.Watch(x.ctx, "/c/", "/c0", last+1)
	rev := x.put("/c/a", "new")
	if b := x.next(w); b.Err != nil || b.Events[0].ModRev != rev {
		x.Errorf("watch from the newest revision: %+v", b)
	}
}

func (x *exam) watchEnds() {
	rev := x.put("/e", "1")
	ctx, cancel := context.WithCancel(x.ctx)
	w := x.kv.Watch(ctx, "/e", "/f", rev)
	if b := x.next(w); b.Err != nil {
		x.Fatalf("watch: %v", b.Err)
	}
	cancel()
	for b := range w {
		if b.Err == nil && len(b.Events) > 0 {
			x.Errorf("after its context ended the watch delivers %+v", b)
		}
	}
	kv := x.Subject.Dial(x.T)
	w = kv.Watch(x.ctx, "/e", "/f", rev)
	if b := x.next(w); b.Err != nil {
		x.Fatalf("watch: %v", b.Err)
	}
	if err := kv.Close(); err != nil {
		x.Errorf("close: %v", err)
	}
	for b := range w {
		if b.Err == nil {
			x.Errorf("a watch of a closed KV delivers %+v", b)
		}
	}
}
