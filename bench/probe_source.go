package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// source is what a broker cannot do without when it gives records back: it sends ranges of files. The files
// hold what a broker's clients got, so that the ranges are the same.
type source struct {
	Dir        string // with a file of each partition
	Partitions int32

	logs []*sourceLog
}

// sourceLog is a file of batches and where each of them lies.
type sourceLog struct {
	f       *os.File
	offsets []int64 // first of each batch
	ends    []int64 // byte position behind each batch
	next    int64   // offset behind the last
}

func (s *source) run(ctx context.Context, hello func(probeHello) error) error {
	for p := range s.Partitions {
		l, err := openSourceLog(filepath.Join(s.Dir, fileName(p)))
		if err != nil {
			return err
		}
		defer l.f.Close()
		s.logs = append(s.logs, l)
	}
	k := &kafkaProbe{partitions: s.Partitions, fetch: s.fetch}
	return listenAndServe(ctx, hello, k.serve)
}

func openSourceLog(name string) (*sourceLog, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	l := &sourceLog{f: f}
	var head [batchHeader]byte
	for pos := int64(0); ; {
		if _, err := f.ReadAt(head[:], pos); errors.Is(err, io.EOF) {
			return l, nil
		} else if err != nil {
			return nil, err
		}
		base, size, next := batchSpan(head[:])
		pos += int64(size)
		l.offsets, l.ends, l.next = append(l.offsets, base), append(l.ends, pos), next
	}
}

// batchSpan reads a batch's first offset, its size, and the offset behind it.
func batchSpan(head []byte) (base int64, size int, next int64) {
	base = int64(binary.BigEndian.Uint64(head))
	return base, int(binary.BigEndian.Uint32(head[8:])) + 12, base + int64(binary.BigEndian.Uint32(head[23:])) + 1
}

// span returns the byte range of whole batches from the one with offset on, of at most limit bytes but at
// least one batch.
func (l *sourceLog) span(offset int64, limit int64) (from, to int64) {
	if offset >= l.next {
		return 0, 0
	}
	i := sort.Search(len(l.offsets), func(i int) bool { return l.offsets[i] > offset }) - 1
	if i < 0 {
		return 0, 0
	}
	if i > 0 {
		from = l.ends[i-1]
	}
	j := sort.Search(len(l.ends), func(j int) bool { return l.ends[j] > from+limit }) - 1
	return from, l.ends[max(j, i)]
}

// fileRange is what goes out for one partition.
type fileRange struct {
	log      *sourceLog
	from, to int64
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
			r := fileRange{log: l}
			if left > 0 {
				r.from, r.to = l.span(p.FetchOffset, min(int64(p.PartitionMaxBytes), left))
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
		if err := sendRange(c.tcp, r.log.f, r.from, r.to-r.from); err != nil {
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
