// Package memkv is a metadata.KV in memory, with faults, for tests and simulation.
//
// A Server is the key space; each Client is one connection to it, whose requests and replies can be lost,
// delayed or cut off. Leases end by the clock of package time, so that a testing/synctest bubble controls
// them. Nothing here survives the process.
//
// Lock order: Client.mu and Server.mu are never held together.
package memkv

import (
	"fmt"
	"slices"
	"sort"
	"sync"

	"firn/metadata"
)

// Server is a key space. Safe for concurrent use.
type Server struct {
	mu struct {
		sync.Mutex
		rev       int64
		compacted int64 // revisions below are not kept
		keys      map[string]*key
		sorted    []string // all keys, unless stale
		stale     bool
		log       []metadata.WatchBatch // one per revision above compacted, in order
		grown     chan struct{}         // closed and replaced when log grows or is compacted
		leases    map[metadata.LeaseID]*lease
		lastLease metadata.LeaseID
	}
}

// key is a key with the versions still kept, oldest first.
type key struct{ versions []version }

type version struct {
	entry   metadata.Entry // Value is never changed
	deleted bool
}

// at returns the key's entry as of rev; absent if the zero Entry but for the name.
func (k *key) at(name string, rev int64) metadata.Entry {
	if k != nil {
		for i := len(k.versions) - 1; i >= 0; i-- {
			if v := k.versions[i]; v.entry.ModRev <= rev {
				if v.deleted {
					break
				}
				return v.entry
			}
		}
	}
	return metadata.Entry{Key: name}
}

// NewServer returns an empty key space at revision 1, as a new etcd has it.
func NewServer() *Server {
	s := &Server{}
	s.mu.rev = 1
	s.mu.keys = make(map[string]*key)
	s.mu.grown = make(chan struct{})
	s.mu.leases = make(map[metadata.LeaseID]*lease)
	return s
}

// Rev returns the newest revision.
func (s *Server) Rev() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.rev
}

// Compact forgets what was before rev: older revisions can no longer be read nor watched from.
func (s *Server) Compact(rev int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rev = min(rev, s.mu.rev)
	if rev <= s.mu.compacted {
		return
	}
	s.mu.compacted = rev
	i := sort.Search(len(s.mu.log), func(i int) bool { return s.mu.log[i].Rev >= rev })
	s.mu.log = slices.Clone(s.mu.log[i:])
	for name, k := range s.mu.keys {
		keep := len(k.versions) - 1
		for keep > 0 && k.versions[keep].entry.ModRev > rev {
			keep--
		}
		k.versions = k.versions[keep:]
		if len(k.versions) == 1 && k.versions[0].deleted && k.versions[0].entry.ModRev <= rev {
			delete(s.mu.keys, name)
			s.mu.stale = true
		}
	}
	s.growLocked()
}

func (s *Server) growLocked() {
	close(s.mu.grown)
	s.mu.grown = make(chan struct{})
}

func (s *Server) get(names []string) ([]metadata.Entry, int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.getLocked(names), s.mu.rev
}

func (s *Server) getLocked(names []string) []metadata.Entry {
	out := make([]metadata.Entry, len(names))
	for i, name := range names {
		out[i] = clone(s.mu.keys[name].at(name, s.mu.rev))
	}
	return out
}

func clone(e metadata.Entry) metadata.Entry {
	e.Value = slices.Clone(e.Value)
	return e
}

// rangeKeys returns the names in [start, end) that have or had a version, in order.
func (s *Server) rangeKeysLocked(start, end string) []string {
	if s.mu.stale {
		s.mu.sorted = s.mu.sorted[:0]
		for name := range s.mu.keys {
			s.mu.sorted = append(s.mu.sorted, name)
		}
		slices.Sort(s.mu.sorted)
		s.mu.stale = false
	}
	i := sort.SearchStrings(s.mu.sorted, start)
	j := len(s.mu.sorted)
	if end != "\x00" {
		j = max(i, sort.SearchStrings(s.mu.sorted, end))
	}
	return s.mu.sorted[i:j]
}

func (s *Server) list(start, end string, rev int64, limit int) (metadata.Page, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case rev == 0:
		rev = s.mu.rev
	case rev < s.mu.compacted:
		return metadata.Page{}, fmt.Errorf("range at %d: %w", rev, metadata.ErrCompacted)
	case rev > s.mu.rev:
		return metadata.Page{}, fmt.Errorf("range at %d, newest is %d: %w", rev, s.mu.rev, metadata.ErrUnavailable)
	}
	page := metadata.Page{Rev: rev}
	for _, name := range s.rangeKeysLocked(start, end) {
		e := s.mu.keys[name].at(name, rev)
		if !e.Exists() {
			continue
		}
		if len(page.Entries) == limit {
			page.More = true
			break
		}
		page.Entries = append(page.Entries, clone(e))
	}
	return page, nil
}

// txns runs transactions as etcd does when they are nested in one: all guards are evaluated before
// anything is written, and everything written gets one revision.
func (s *Server) txns(list []metadata.Txn) ([]metadata.TxnResult, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]metadata.TxnResult, len(list))
	for i, t := range list {
		out[i].OK = s.holdsLocked(t.If)
		if !out[i].OK {
			out[i].Else = s.getLocked(t.Else)
		}
		for _, op := range t.Then {
			if out[i].OK && op.Lease != 0 && s.mu.leases[op.Lease] == nil {
				return nil, fmt.Errorf("put %s: %w", op.Key, metadata.ErrLeaseNotFound)
			}
		}
	}
	next := s.mu.rev + 1
	batch := metadata.WatchBatch{Rev: next}
	for i, t := range list {
		if !out[i].OK {
			continue
		}
		for _, op := range t.Then {
			batch.Events = append(batch.Events, s.applyLocked(op, next)...)
		}
	}
	s.appendLocked(batch)
	for i := range out {
		out[i].Rev = s.mu.rev
	}
	return out, nil
}

// appendLocked makes a batch's revision the newest, if the batch is not empty.
func (s *Server) appendLocked(batch metadata.WatchBatch) {
	if len(batch.Events) == 0 {
		return
	}
	s.mu.rev = batch.Rev
	s.mu.log = append(s.mu.log, batch)
	s.growLocked()
}

func (s *Server) holdsLocked(guards []metadata.Cmp) bool {
	for _, c := range guards {
		e := s.mu.keys[c.Key].at(c.Key, s.mu.rev)
		got := e.ModRev
		if c.Create {
			got = e.CreateRev
		}
		if got != c.Rev {
			return false
		}
	}
	return true
}

func (s *Server) applyLocked(op metadata.Op, rev int64) []metadata.Event {
	if !op.Delete {
		return []metadata.Event{s.putLocked(op, rev)}
	}
	names := []string{op.Key}
	if op.End != "" {
		names = slices.Clone(s.rangeKeysLocked(op.Key, op.End))
	}
	var events []metadata.Event
	for _, name := range names {
		k := s.mu.keys[name]
		e := k.at(name, rev)
		if !e.Exists() {
			continue
		}
		if l := s.mu.leases[e.Lease]; l != nil {
			delete(l.keys, name)
		}
		gone := metadata.Entry{Key: name, ModRev: rev}
		k.versions = append(k.versions, version{entry: gone, deleted: true})
		events = append(events, metadata.Event{Entry: gone, Deleted: true})
	}
	return events
}

func (s *Server) putLocked(op metadata.Op, rev int64) metadata.Event {
	k := s.mu.keys[op.Key]
	if k == nil {
		k = &key{}
		s.mu.keys[op.Key] = k
		s.mu.stale = true
	}
	old := k.at(op.Key, rev)
	if l := s.mu.leases[old.Lease]; l != nil {
		delete(l.keys, op.Key)
	}
	e := metadata.Entry{Key: op.Key, Value: slices.Clone(op.Value), CreateRev: old.CreateRev, ModRev: rev, Lease: op.Lease}
	if !old.Exists() {
		e.CreateRev = rev
	}
	if l := s.mu.leases[op.Lease]; l != nil {
		l.keys[op.Key] = true
	}
	k.versions = append(k.versions, version{entry: e})
	return metadata.Event{Entry: e}
}

// since returns what was written from revision from on, and a channel that closes when there may be more.
func (s *Server) since(from int64) ([]metadata.WatchBatch, int64, <-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if from < s.mu.compacted {
		return nil, 0, nil, metadata.ErrCompacted
	}
	i := sort.Search(len(s.mu.log), func(i int) bool { return s.mu.log[i].Rev >= from })
	return slices.Clone(s.mu.log[i:]), s.mu.rev, s.mu.grown, nil
}
