package tiering

import (
	"time"

	"firn/metadata/topic"
)

// note remembers when the batch at the start of the active segment was appended.
func (p *Upload) note() (base, size int64, since time.Time) {
	base, size, since = p.src.Active()
	if since.IsZero() {
		return base, size, since
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.mu.marks); n == 0 || p.mu.marks[n-1].offset < base {
		p.mu.marks = append(p.mu.marks, mark{base, since})
	}
	return base, size, since
}

// forgetMarks drops what lies before the newest mark at or below offset.
func (p *Upload) forgetMarks(offset int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.mu.marks) > 1 && p.mu.marks[1].offset <= offset {
		p.mu.marks = p.mu.marks[1:]
	}
}

// LocalStart is the first offset of the local log.
func (p *Upload) LocalStart() int64 { return p.src.Start() }

// UploadStatus is what an operator wants to know of one partition's uploads.
type UploadStatus struct {
	Partition   topic.Partition
	LeaderEpoch int32
	TierEnd     int64 // proven by a read; -1 before the first
	LogStart    int64
	RawBytes    int64         // in the tier, before block compression
	StoredBytes int64         // in the tier, as objects
	Segments    int64         // in the tier
	Untiered    int64         // bytes that are local only
	LagBytes    int64         // of those, what is to be archived
	Lag         time.Duration // age of the oldest byte that is not in the tier, as far as known
	Fenced      bool
	Failures    int   // in a row
	Err         error // of the last failure, nil after a success
	RetryAt     time.Time
}

// Status is the partition's present state.
func (p *Upload) Status() UploadStatus {
	s := UploadStatus{Partition: p.tp, LeaderEpoch: p.archive.epoch, TierEnd: p.archive.ProvenTierEnd(), Fenced: p.archive.Fenced()}
	from := p.src.Start()
	if h, ok := p.archive.Known(); ok {
		s.LogStart, s.RawBytes, s.StoredBytes, s.Segments = h.LogStart, h.RawBytes, h.StoredBytes, h.Segments
		from = max(from, h.TierEnd)
	}
	s.Untiered = p.src.Bytes(from)
	p.note()
	p.mu.Lock()
	defer p.mu.Unlock()
	s.Failures, s.Err, s.RetryAt = p.mu.failures, p.mu.err, p.mu.retryAt
	if !p.mu.limits.Ended {
		s.LagBytes = s.Untiered
	}
	if s.LagBytes > 0 {
		for i, m := range p.mu.marks {
			if i == 0 || m.offset <= from {
				s.Lag = max(0, time.Since(m.at))
			}
		}
	}
	return s
}
