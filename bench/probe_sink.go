package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// sink is what a broker cannot do without when it takes records: it reads the same frames, checks each
// batch's CRC-32C and writes it to a file. With Sync it appends all of a frame to one file and makes that
// durable before it answers.
type sink struct {
	Dir        string // its files go into a directory of each topic in here, and away at the end
	Partitions int32
	Sync       bool

	mu    sync.Mutex
	files map[string]*sinkFile
}

// sinkFile is appended to by one request at a time.
type sinkFile struct {
	mu   sync.Mutex
	f    *os.File
	size int64
	next int64
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Where a batch's checksum stands, and what it is of.
const (
	crcAt   = 17
	crcFrom = 21
	// batchHeader is how long the part of a batch before its records is.
	batchHeader = 61
)

func (s *sink) run(ctx context.Context, hello func(probeHello) error) error {
	s.files = map[string]*sinkFile{}
	defer s.remove()
	k := &kafkaProbe{partitions: s.Partitions, produce: s.produce}
	return listenAndServe(ctx, hello, k.serve)
}

func (s *sink) remove() {
	for _, f := range s.files {
		_ = f.f.Close()
		_ = os.Remove(f.f.Name())
		_ = os.Remove(filepath.Dir(f.f.Name()))
	}
}

func (s *sink) file(topic string, partition int32) (*sinkFile, error) {
	if s.Sync {
		partition = 0
	}
	name := filepath.Join(s.Dir, topic, fileName(partition))
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.files[name]; f != nil {
		return f, nil
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	s.files[name] = &sinkFile{f: f}
	return s.files[name], nil
}

func (s *sink) produce(c *probeConn, req *kmsg.ProduceRequest) error {
	resp := req.ResponseKind().(*kmsg.ProduceResponse)
	for i := range req.Topics {
		t := &req.Topics[i]
		rt := kmsg.NewProduceResponseTopic()
		rt.Topic = t.Topic
		var last *sinkFile
		for j := range t.Partitions {
			p := &t.Partitions[j]
			f, err := s.file(t.Topic, p.Partition)
			if err != nil {
				return err
			}
			rp := kmsg.NewProduceResponseTopicPartition()
			rp.Partition = p.Partition
			if rp.BaseOffset, err = f.append(p.Records); err != nil {
				return err
			}
			rt.Partitions = append(rt.Partitions, rp)
			last = f
		}
		if s.Sync && last != nil {
			if err := datasync(last.f); err != nil {
				return err
			}
		}
		resp.Topics = append(resp.Topics, rt)
	}
	if req.Acks == 0 {
		return nil
	}
	return c.reply(resp)
}

func (f *sinkFile) append(batch []byte) (int64, error) {
	if len(batch) < batchHeader {
		return 0, errors.New("batch is cut short")
	}
	if got, want := crc32.Checksum(batch[crcFrom:], castagnoli), binary.BigEndian.Uint32(batch[crcAt:]); got != want {
		return 0, fmt.Errorf("batch has checksum %08x, want %08x", got, want)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	base := f.next
	if _, err := f.f.WriteAt(batch, f.size); err != nil {
		return 0, err
	}
	f.size += int64(len(batch))
	f.next += int64(binary.BigEndian.Uint32(batch[23:])) + 1 // last offset delta
	return base, nil
}
