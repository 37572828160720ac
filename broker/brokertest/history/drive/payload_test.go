package drive

import (
	"bytes"
	"context"
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/brokertest/history"
)

// Records of which anything was changed are none that were sent.
func TestPayload(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	const value = 7_000_000_003
	for n := range 50 {
		m := message(value, rng, n)
		is := func(what string, want bool) {
			t.Helper()
			if got := m.number(); (got == value) != want || !want && got >= 0 {
				t.Errorf("%+v, %s: number %d", m, what, got)
			}
		}
		is("as it is", true)
		for i := range m.Value {
			m.Value[i] ^= 4
			is("a byte changed", false)
			m.Value[i] ^= 4
		}
		m.Time++
		is("another time", false)
		m.Time--
		m.Headers = append(m.Headers, Header{})
		is("one header more", false)
		m.Headers = m.Headers[:len(m.Headers)-1]
		for i := range m.Headers {
			h := &m.Headers[i]
			had := *h
			h.Key += "x"
			is("another name of a header", false)
			*h = Header{Key: had.Key, Value: append(bytes.Clone(had.Value), 1)}
			is("another value of a header", false)
			if *h = (Header{Key: had.Key, Value: []byte{}}); had.Value == nil {
				is("an empty header for one of none", false)
			}
			*h = had
		}
		if m.Key == nil {
			m.Key = []byte{}
		} else {
			m.Key = nil
		}
		is("another key", false)
	}
	if (&Message{}).number() >= 0 {
		t.Error("an empty record has a number")
	}
}

// remake changes a batch and makes its checksum anew.
func remake(b []byte, change func([]byte) []byte) []byte {
	const crcAt, crcFrom = 17, 21
	b = change(bytes.Clone(b))
	binary.BigEndian.PutUint32(b[crcAt:], crc32.Checksum(b[crcFrom:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// A cluster that keeps other times, keys or headers than those that were sent is found out.
func TestDriveChangedRecords(t *testing.T) {
	const firstTimeAt, maxTimeAt = 27, 35
	for what, change := range map[string]func([]byte) []byte{
		"times": func(b []byte) []byte {
			for _, at := range []int{firstTimeAt, maxTimeAt} {
				binary.BigEndian.PutUint64(b[at:], binary.BigEndian.Uint64(b[at:])+1)
			}
			return b
		},
		"keys":    func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("key"), []byte("kex")) },
		"headers": func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("header"), []byte("headex")) },
	} {
		t.Run(what, func(t *testing.T) {
			// No codec is none; clients sort those that they are given, all the same ones.
			r := newRig(t, func(o *Options) { o.Client = []kgo.Opt{kgo.ProducerBatchCompression()} })
			r.work(20)
			var changed atomic.Int64
			r.lie(kmsg.Produce, func(req kmsg.Request) kmsg.Response {
				for _, topic := range req.(*kmsg.ProduceRequest).Topics {
					for i := range topic.Partitions {
						p := &topic.Partitions[i]
						if b := remake(p.Records, change); !bytes.Equal(b, p.Records) {
							p.Records = b
							changed.Add(1)
						}
					}
				}
				return nil
			})
			r.until("records are changed", func() bool { return changed.Load() > 3 })
			if report := r.judge(patience); report.Found(history.PhantomRead) == 0 {
				t.Error(report)
			}
		})
	}
}

// A cluster that finds other offsets for a time than the first is found out, and one that finds none.
func TestDriveWrongSearches(t *testing.T) {
	for what, answer := range map[string]func(*kmsg.ListOffsetsRequest) kmsg.Response{
		"but the first is": func(req *kmsg.ListOffsetsRequest) kmsg.Response {
			if p := &req.Topics[0].Partitions[0]; p.Timestamp >= 0 {
				p.Timestamp = 0
			}
			return nil
		},
		"offset -1": func(req *kmsg.ListOffsetsRequest) kmsg.Response {
			p := &req.Topics[0].Partitions[0]
			if p.Timestamp == greatest {
				p.Timestamp = 1 << 60
			}
			return nil
		},
	} {
		t.Run(what, func(t *testing.T) {
			r := newRig(t, func(o *Options) { o.Members, o.Readers = 0, 0 })
			r.until("records", func() bool { return r.Acked() > 100 })
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			if err := r.Stop(ctx); err != nil {
				t.Fatal(err)
			}
			if _, err := r.ReadAll(ctx, "well"); err != nil {
				t.Fatal(err)
			}
			r.lie(kmsg.ListOffsets, func(req kmsg.Request) kmsg.Response { return answer(req.(*kmsg.ListOffsetsRequest)) })
			ctx, cancel = context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			if _, err := r.ReadAll(ctx, "badly"); err == nil || !strings.Contains(err.Error(), what) {
				t.Errorf("searched: %v", err)
			}
		})
	}
}
