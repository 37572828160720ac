package memkv

import (
	"time"

	"firn/metadata"
)

type lease struct {
	ttl   time.Duration
	timer *time.Timer
	keys  map[string]bool
}

// ExpireLease ends a lease at once, as if its time had run out.
func (s *Server) ExpireLease(id metadata.LeaseID) { _ = s.revoke(id) }

func (s *Server) grant(ttl time.Duration) metadata.LeaseID {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.lastLease++
	id := s.mu.lastLease
	s.mu.leases[id] = &lease{
		ttl: ttl, keys: make(map[string]bool),
		timer: time.AfterFunc(ttl, func() { s.ExpireLease(id) }),
	}
	return id
}

func (s *Server) keepAlive(id metadata.LeaseID) (time.Duration, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.mu.leases[id]
	if l == nil {
		return 0, metadata.ErrLeaseNotFound
	}
	l.timer.Reset(l.ttl)
	return l.ttl, nil
}

func (s *Server) revoke(id metadata.LeaseID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.mu.leases[id]
	if l == nil {
		return metadata.ErrLeaseNotFound
	}
	l.timer.Stop()
	delete(s.mu.leases, id)
	batch := metadata.WatchBatch{Rev: s.mu.rev + 1}
	for name := range l.keys {
		batch.Events = append(batch.Events, s.applyLocked(metadata.Delete(name), batch.Rev)...)
	}
	s.appendLocked(batch)
	return nil
}
