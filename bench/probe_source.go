package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// source is what a broker cannot do without when it gives records back: it sends ranges of files. They are
// the broker's own if it is known where these are, for what sending costs depends on how a file was written;
// else files that hold what its clients got.
type source struct {
	Files [][]string // of each partition, in the order of their offsets

	logs []*sourceLog
}

// sourceLog is a partition's files and where each batch lies.
type sourceLog struct {
	batches []sourceBatch
	next    int64 // offset behind the last
}

type sourceBatch struct {
	offset   int64 // its first
	f        *os.File
	pos, end int64 // in the file
}

func (s *source) run(ctx context.Context, hello func(probeHello) error) error {
	for _, names := range s.Files {
		l := &sourceLog{}
		for _, name := range names {
			f, err := os.Open(name)
			if err != nil {
				return err
			}
			defer f.Close()
			if err := l.scan(f); err != nil {
				return err
			}
		}
		s.logs = append(s.logs, l)
	}
	k := &kafkaProbe{partitions: int32(len(s.logs)), fetch: s.fetch}
	return listenAndServe(ctx, hello, k.serve)
}

// scan finds the batches of a file.
func (l *sourceLog) scan(f *os.File) error {
	var head [batchHeader]byte
	for pos := int64(0); ; {
		if _, err := f.ReadAt(head[:], pos); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		base, size, next := batchSpan(head[:])
		if size <= batchHeader {
			return nil // space that was set aside
		}
		l.batches = append(l.batches, sourceBatch{base, f, pos, pos + int64(size)})
		l.next = next
		pos += int64(size)
	}
}

// batchSpan reads a batch's first offset, its size, and the offset behind it.
func batchSpan(head []byte) (base int64, size int, next int64) {
	base = int64(binary.BigEndian.Uint64(head))
	return base, int(binary.BigEndian.Uint32(head[8:])) + 12, base + int64(binary.BigEndian.Uint32(head[23:])) + 1
}

// fileRange is what goes out for one partition.
type fileRange struct {
	f        *os.File
	from, to int64
}

// span returns whole batches of one file from the one with offset on, of at most limit bytes but at least
// one batch.
func (l *sourceLog) span(offset int64, limit int64) (r fileRange) {
	if offset >= l.next || len(l.batches) == 0 {
		return r
	}
	i := max(sort.Search(len(l.batches), func(i int) bool { return l.batches[i].offset > offset })-1, 0)
	b := l.batches[i]
	r = fileRange{b.f, b.pos, b.end}
	for _, b := range l.batches[i+1:] {
		if b.f != r.f || b.end-r.from > limit {
			break
		}
		r.to = b.end
	}
	return r
}

func (s *source) fetch(c *probeConn, req *kmsg.FetchRequest) error {
	resp := req.ResponseKind().(*kmsg.FetchResponse)
	var ranges []fileRange
	left, total := int64(req.MaxBytes), int64(0)
	for i := range req.Topics {
		t := &req.Topics[i]
		rt := kmsg.NewFetchResponseTopic()
		rt.Topic = t.Topic
		for j := range t.Partitions {
			p := &t.Partitions[j]
			if p.Partition < 0 || int(p.Partition) >= len(s.logs) {
				return fmt.Errorf("no partition %d", p.Partition)
			}
			l := s.logs[p.Partition]
			rp := kmsg.NewFetchResponseTopicPartition()
			rp.Partition, rp.HighWatermark, rp.LastStableOffset = p.Partition, l.next, l.next
			var r fileRange
			if left > 0 {
				r = l.span(p.FetchOffset, min(int64(p.PartitionMaxBytes), left))
			}
			left -= r.to - r.from
			total += r.to - r.from
			ranges = append(ranges, r)
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	if total == 0 {
		idle := time.NewTimer(time.Duration(req.MaxWaitMillis) * time.Millisecond)
		<-idle.C
	}
	return c.sendFetch(resp, ranges, total)
}

// sendFetch sends the response with each range in its place. It encodes the response without records and
// cuts it where they belong: their length stands in its last four bytes of each partition.
func (c *probeConn) sendFetch(resp *kmsg.FetchResponse, ranges []fileRange, total int64) error {
	topics := resp.Topics
	resp.Topics = nil
	c.out = resp.AppendTo(append(c.out[:0], 0, 0, 0, 0, 0, 0, 0, 0))
	c.out = c.out[:len(c.out)-4] // the empty list of topics
	c.out = binary.BigEndian.AppendUint32(c.out, uint32(len(topics)))
	var cuts []int
	for i := range topics {
		t := &topics[i]
		c.out = binary.BigEndian.AppendUint16(c.out, uint16(len(t.Topic)))
		c.out = append(c.out, t.Topic...)
		c.out = binary.BigEndian.AppendUint32(c.out, uint32(len(t.Partitions)))
		for j := range t.Partitions {
			c.out = appendFetchPartition(c.out, resp.Version, &t.Partitions[j])
			r := ranges[len(cuts)]
			c.out = binary.BigEndian.AppendUint32(c.out, uint32(r.to-r.from))
			cuts = append(cuts, len(c.out))
		}
	}
	binary.BigEndian.PutUint32(c.out, uint32(int64(len(c.out)-4)+total))
	binary.BigEndian.PutUint32(c.out[4:], uint32(c.correlation))
	done := 0
	for i, cut := range cuts {
		r := ranges[i]
		if r.to == r.from {
			continue
		}
		if _, err := c.Write(c.out[done:cut]); err != nil {
			return err
		}
		done = cut
		if err := sendRange(c.tcp, r.f, r.from, r.to-r.from); err != nil {
			return err
		}
	}
	if done == len(c.out) {
		return nil
	}
	_, err := c.Write(c.out[done:])
	return err
}

// appendFetchPartition appends a partition of a fetch response, versions 4 to 11, up to its records.
func appendFetchPartition(b []byte, version int16, p *kmsg.FetchResponseTopicPartition) []byte {
	be := binary.BigEndian
	b = be.AppendUint32(b, uint32(p.Partition))
	b = be.AppendUint16(b, 0)
	b = be.AppendUint64(b, uint64(p.HighWatermark))
	b = be.AppendUint64(b, uint64(p.LastStableOffset))
	if version >= 5 {
		b = be.AppendUint64(b, 0) // log start
	}
	b = be.AppendUint32(b, 0) // aborted transactions
	if version >= 11 {
		b = be.AppendUint32(b, ^uint32(0)) // no preferred replica
	}
	return b
}
