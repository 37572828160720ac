package kvtest

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"firn/metadata"
)

func (x *exam) revisions() {
	if e := x.get("/a")[0]; e.Exists() || e.CreateRev != 0 || e.Value != nil {
		x.Fatalf("absent key: %+v", e)
	}
	r1 := x.put("/a", "1", "/b", "1")
	r2 := x.put("/a", "2")
	if r2 <= r1 {
		x.Fatalf("revision %d after %d", r2, r1)
	}
	got := x.get("/a", "/none", "/b")
	if e := got[0]; string(e.Value) != "2" || e.CreateRev != r1 || e.ModRev != r2 {
		x.Errorf("/a: %+v, want value 2, created at %d, written at %d", e, r1, r2)
	}
	if got[1].Exists() {
		x.Errorf("/none: %+v", got[1])
	}
	if e := got[2]; string(e.Value) != "1" || e.CreateRev != r1 || e.ModRev != r1 {
		x.Errorf("/b: %+v, want value 1 of %d", e, r1)
	}
	x.txn(metadata.Txn{Then: []metadata.Op{metadata.Delete("/a"), metadata.Delete("/none")}})
	if e := x.get("/a")[0]; e.Exists() {
		x.Errorf("deleted key: %+v", e)
	}
	if r := x.put("/a", "3"); x.get("/a")[0].CreateRev != r {
		x.Errorf("made again at %d: %+v", r, x.get("/a")[0])
	}
	// A transaction that writes nothing makes no revision.
	before := x.put("/c", "1")
	if res := x.txn(metadata.Txn{Then: []metadata.Op{metadata.Delete("/none")}}); !res.OK || res.Rev != before {
		x.Errorf("nothing written: %+v, want revision %d", res, before)
	}
	// Values may hold any bytes, and none.
	odd := []byte{0, 0xff, '/', 0}
	x.txn(metadata.Txn{Then: []metadata.Op{metadata.Put("/odd", odd), metadata.Put("/empty", nil)}})
	if got := x.get("/odd", "/empty"); !bytes.Equal(got[0].Value, odd) || !got[1].Exists() || len(got[1].Value) != 0 {
		x.Errorf("odd values: %+v", got)
	}
}

func (x *exam) guards() {
	rev := x.put("/a", "1")
	rev2 := x.put("/a", "2")
	for _, c := range []struct {
		name string
		cmp  metadata.Cmp
		ok   bool
	}{
		{"absent key is absent", metadata.Absent("/none"), true},
		{"present key is not absent", metadata.Absent("/a"), false},
		{"written at its revision", metadata.ModIs("/a", rev2), true},
		{"written at an older one", metadata.ModIs("/a", rev), false},
		{"absent key written", metadata.ModIs("/none", rev), false},
		{"created at its revision", metadata.CreatedAt("/a", rev), true},
		{"created at its last write", metadata.CreatedAt("/a", rev2), false},
		{"absent key never created", metadata.CreatedAt("/none", 0), true},
	} {
		res := x.txn(metadata.Txn{
			If:   []metadata.Cmp{metadata.ModIs("/a", rev2), c.cmp},
			Then: []metadata.Op{metadata.Put("/seen/"+strconv.FormatBool(c.ok), []byte(c.name))},
			Else: []string{"/a", "/none"},
		})
		if res.OK != c.ok {
			x.Errorf("%s: %v, want %v", c.name, res.OK, c.ok)
		}
		if res.OK {
			if res.Else != nil {
				x.Errorf("%s: reads though the guards held", c.name)
			}
			continue
		}
		if len(res.Else) != 2 || string(res.Else[0].Value) != "2" || res.Else[0].ModRev != rev2 || res.Else[1].Exists() || res.Else[1].Key != "/none" {
			x.Errorf("%s: read %+v", c.name, res.Else)
		}
	}
	if e := x.get("/seen/false")[0]; e.Exists() {
		x.Errorf("written though a guard failed: %s", e.Value)
	}
}

func (x *exam) guardsUnderRace() {
	const writers, increments = 4, 15
	x.put("/n", "0")
	var wg sync.WaitGroup
	for range writers {
		kv := x.dial()
		wg.Go(func() {
			for done := 0; done < increments; {
				got, _, err := kv.Get(x.ctx, "/n")
				if err != nil {
					x.Errorf("get: %v", err)
					return
				}
				n, _ := strconv.Atoi(string(got[0].Value))
				res, err := kv.Txn(x.ctx, metadata.Txn{
					If:   []metadata.Cmp{metadata.ModIs("/n", got[0].ModRev)},
					Then: []metadata.Op{metadata.Put("/n", []byte(strconv.Itoa(n+1)))},
				})
				if err != nil {
					x.Errorf("txn: %v", err)
					return
				}
				if res.OK {
					done++
				}
			}
		})
	}
	wg.Wait()
	if got := string(x.get("/n")[0].Value); got != strconv.Itoa(writers*increments) {
		x.Errorf("counted to %s, want %d", got, writers*increments)
	}
}

func (x *exam) rangeAtRevision() {
	want := map[string]string{}
	var rev int64
	for i := range 25 {
		k, v := fmt.Sprintf("/r/%02d", i), strconv.Itoa(i)
		rev = x.put(k, v)
		want[k] = v
	}
	x.put("/q", "before", "/r0", "after", "/r", "before")
	x.put("/r/00", "later", "/r/99", "later")
	x.txn(metadata.Txn{Then: []metadata.Op{metadata.Delete("/r/10")}})

	start, end := "/r/", metadata.PrefixEnd("/r/")
	for _, limit := range []int{1, 7, 25, 1000} {
		got, last, from := map[string]string{}, "", start
		for {
			page, err := x.kv.Range(x.ctx, from, end, rev, limit)
			if err != nil {
				x.Fatalf("range: %v", err)
			}
			if page.Rev != rev || len(page.Entries) > limit || page.More && len(page.Entries) != limit {
				x.Fatalf("page of %d entries, more %v, at %d; want at most %d at %d", len(page.Entries), page.More, page.Rev, limit, rev)
			}
			for _, e := range page.Entries {
				if e.Key <= last {
					x.Fatalf("%s after %s", e.Key, last)
				}
				got[e.Key], last = string(e.Value), e.Key
			}
			if !page.More {
				break
			}
			from = last + "\x00"
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			x.Errorf("pages of %d: %v, want %v", limit, got, want)
		}
	}
	page, err := x.kv.Range(x.ctx, start, end, 0, 1000)
	if err != nil || len(page.Entries) != 25 || string(page.Entries[0].Value) != "later" || page.Rev <= rev {
		x.Errorf("newest: %d entries at %d, %v", len(page.Entries), page.Rev, err)
	}
	x.txn(metadata.Txn{Then: []metadata.Op{metadata.DeleteRange(start, end)}})
	if page, err := x.kv.Range(x.ctx, "/", metadata.PrefixEnd("/"), 0, 1000); err != nil || len(page.Entries) != 3 {
		x.Errorf("after a range was deleted: %+v, %v", page.Entries, err)
	}
}

func (x *exam) manyVerdicts() {
	const n = 230 // several requests
	rev := x.put("/m/3", "taken", "/m/103", "taken")
	txns := make([]metadata.Txn, n)
	for i := range txns {
		k := "/m/" + strconv.Itoa(i)
		txns[i] = metadata.Txn{
			If:   []metadata.Cmp{metadata.Absent(k)},
			Then: []metadata.Op{metadata.Put(k, []byte("new")), metadata.Put(k+"/more", []byte("new"))},
			Else: []string{k},
		}
	}
	// Guards see nothing of what the others write.
	txns[200].If = append(txns[200].If, metadata.Absent("/m/201"))
	got, err := x.kv.TxnMany(x.ctx, txns)
	if err != nil {
		x.Fatalf("many: %v", err)
	}
	for i, res := range got {
		k := "/m/" + strconv.Itoa(i)
		if taken := i == 3 || i == 103; res.OK == taken || res.Rev == 0 {
			x.Errorf("txn %d: %+v", i, res)
		} else if taken && (len(res.Else) != 1 || res.Else[0].ModRev != rev || x.get(k + "/more")[0].Exists()) {
			x.Errorf("txn %d failed and read %+v", i, res.Else)
		} else if e := x.get(k)[0]; !taken && e.ModRev != res.Rev {
			x.Errorf("txn %d at %d wrote %+v", i, res.Rev, e)
		}
	}
	if got, err := x.kv.TxnMany(x.ctx, nil); err != nil || len(got) != 0 {
		x.Errorf("no transactions: %v, %v", got, err)
	}
}

func (x *exam) manyLarge() {
	big := bytes.Repeat([]byte("x"), 300<<10)
	txns := make([]metadata.Txn, 8) // 2.4 MiB, more than any one request may hold
	for i := range txns {
		txns[i].Then = []metadata.Op{metadata.Put("/big/"+strconv.Itoa(i), big)}
	}
	got, err := x.kv.TxnMany(x.ctx, txns)
	if err != nil {
		x.Fatalf("many: %v", err)
	}
	for i, res := range got {
		if !res.OK {
			x.Errorf("txn %d failed", i)
		}
	}
	many := make([]metadata.Txn, 10)
	for i := range many {
		for j := range metadata.MaxManyOps {
			k := fmt.Sprintf("/full/%d/%d", i, j)
			many[i].If = append(many[i].If, metadata.Absent(k))
			many[i].Then = append(many[i].Then, metadata.Put(k, nil))
			many[i].Else = append(many[i].Else, k)
		}
	}
	if _, err := x.kv.TxnMany(x.ctx, many); err != nil {
		x.Errorf("transactions as large as they may be: %v", err)
	}
}

func (x *exam) txnLimits() {
	var txn metadata.Txn
	for i := range metadata.MaxTxnOps {
		txn.Then = append(txn.Then, metadata.Put(fmt.Sprintf("/l/%04d", i), []byte("v")))
	}
	for i := range metadata.MaxTxnGuards {
		txn.If = append(txn.If, metadata.Absent("/none/"+strconv.Itoa(i)))
		txn.Else = append(txn.Else, "/none/"+strconv.Itoa(i))
	}
	res := x.txn(txn)
	if !res.OK {
		x.Fatal("the largest transaction failed")
	}
	page, err := x.kv.Range(x.ctx, "/l/", metadata.PrefixEnd("/l/"), 0, 2*metadata.MaxTxnOps)
	if err != nil || len(page.Entries) != metadata.MaxTxnOps {
		x.Fatalf("%d entries, %v", len(page.Entries), err)
	}
	for _, e := range page.Entries {
		if e.ModRev != res.Rev {
			x.Fatalf("%s at %d, want all at %d", e.Key, e.ModRev, res.Rev)
		}
	}
	txn.If = []metadata.Cmp{metadata.Absent("/l/0001")}
	txn.Else = []string{"/l/0001"}
	if res := x.txn(txn); res.OK || len(res.Else) != 1 || !res.Else[0].Exists() {
		x.Errorf("the largest transaction with a failing guard: OK %v, read %v", res.OK, res.Else)
	}

	twice := []metadata.Op{metadata.Put("/t", nil), metadata.Delete("/t")}
	large := []metadata.Op{metadata.Put("/t", make([]byte, metadata.MaxTxnBytes+1))}
	for _, c := range []struct {
		name string
		txn  metadata.Txn
		want error
	}{
		{"too many writes", metadata.Txn{Then: append(txn.Then, metadata.Delete("/x"))}, metadata.ErrTooLarge},
		{"too many bytes", metadata.Txn{Then: large}, metadata.ErrTooLarge},
		{"too many guards", metadata.Txn{If: make([]metadata.Cmp, metadata.MaxTxnGuards+1)}, metadata.ErrTooLarge},
		{"a key written twice", metadata.Txn{Then: twice}, metadata.ErrInvalidTxn},
		{"an empty key", metadata.Txn{Then: []metadata.Op{metadata.Put("", nil)}}, metadata.ErrInvalidTxn},
	} {
		if _, err := x.kv.Txn(x.ctx, c.txn); !errors.Is(err, c.want) {
			x.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	if _, err := x.kv.TxnMany(x.ctx, []metadata.Txn{{Then: twice[:1]}, {Then: twice[1:]}}); !errors.Is(err, metadata.ErrInvalidTxn) {
		x.Errorf("a key written by two of many: %v", err)
	}
}
