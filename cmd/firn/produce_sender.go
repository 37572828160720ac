package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"
)

// sender turns lines into records. Records and their bytes are made many at a time, because a line is
// often shorter than what an allocation costs.
type sender struct {
	app  *app
	cl   *kgo.Client
	opts produceOptions
	bar  *progress

	sent, delivered atomic.Int64
	failed          struct {
		sync.Mutex
		count int64
		lines []string // the first few, for people
	}
}

const (
	chunkRecords = 512
	slabBytes    = 1 << 20
	// maxLine is the longest line that is taken, half of what may be buffered.
	maxLine = maxBufferedBytes / 2
	// maxReported is how many failures are told one by one.
	maxReported = 10
)

// chunk is a run of records that were allocated together.
type chunk struct {
	first int64 // line number of the first one
	used  int
	recs  [chunkRecords]kgo.Record
}

// line returns the line number of a record of the chunk.
func (c *chunk) line(r *kgo.Record) int64 {
	for i := range c.recs {
		if &c.recs[i] == r {
			return c.first + int64(i)
		}
	}
	return 0
}

// send reads lines and hands them to the client until the input or ctx ends.
func (s *sender) send(ctx context.Context) error {
	in := bufio.NewReaderSize(s.app.in, slabBytes)
	recordCtx := context.WithoutCancel(ctx) // what was read is delivered even when no more is read
	var (
		ch   *chunk
		done func(*kgo.Record, error)
		slab []byte
		line []byte
		err  error
	)
	for n := int64(1); ctx.Err() == nil; n++ {
		line, slab, err = readLine(in, slab)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		if ch == nil || ch.used == chunkRecords {
			ch = &chunk{first: n}
			done = s.promise(ch)
		}
		rec := &ch.recs[ch.used]
		ch.used++
		rec.Key, rec.Value = splitKey(line, s.opts.keySeparator)
		rec.Partition = max(s.opts.partition, 0)
		s.sent.Add(1)
		s.cl.Produce(recordCtx, rec, done)
		s.bar.add(int64(len(line)) + 1)
	}
	return errInterrupted
}

var errLineTooLong = fmt.Errorf("longer than %d bytes", maxLine)

// readLine returns the next line without its newline, in memory that is never used again. The rest of that
// memory is returned for the next line.
func readLine(in *bufio.Reader, slab []byte) (line, rest []byte, err error) {
	part, err := in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		long := append([]byte(nil), part...)
		for errors.Is(err, bufio.ErrBufferFull) {
			if len(long) > maxLine {
				return nil, slab, errLineTooLong
			}
			part, err = in.ReadSlice('\n')
			long = append(long, part...)
		}
		return endLine(long, slab, err)
	}
	if len(part) > cap(slab)-len(slab) {
		slab = make([]byte, 0, max(slabBytes, len(part)))
	}
	at := len(slab)
	slab = append(slab, part...)
	return endLine(slab[at:len(slab):len(slab)], slab, err)
}

// endLine takes the newline off. A last line without one is a line too.
func endLine(line, slab []byte, err error) ([]byte, []byte, error) {
	switch {
	case err == nil:
		line = line[:len(line)-1]
	case errors.Is(err, io.EOF) && len(line) > 0:
	default:
		return nil, slab, err
	}
	if len(line) > maxLine {
		return nil, slab, errLineTooLong
	}
	return line[:len(line):len(line)], slab, nil
}

// promise returns what is called with each record of a chunk when its fate is known.
func (s *sender) promise(ch *chunk) func(*kgo.Record, error) {
	return func(r *kgo.Record, err error) {
		if err == nil {
			s.delivered.Add(1)
			return
		}
		s.failed.Lock()
		defer s.failed.Unlock()
		s.failed.count++
		if len(s.failed.lines) < maxReported {
			s.failed.lines = append(s.failed.lines, fmt.Sprintf("line %d: %v", ch.line(r), brokerError(err, "")))
		}
	}
}

// result reports what was not delivered.
func (s *sender) result() error {
	s.failed.Lock()
	defer s.failed.Unlock()
	for _, l := range s.failed.lines {
		s.app.warn("%s", l)
	}
	sent, delivered := s.sent.Load(), s.delivered.Load()
	if sent == delivered {
		return nil
	}
	return fmt.Errorf("%d of %d records were not delivered", sent-delivered, sent)
}
