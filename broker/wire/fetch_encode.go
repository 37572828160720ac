package wire

import (
	"encoding/binary"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// EncodeFetch encodes a Fetch response of version 4 to 18 behind its length and header, without
// touching the records: their extents become part of the body, which releases them.
func EncodeFetch(correlationID int32, version int16, f *FetchResponse) *Body {
	e := fetchEncoder{version: version, flexible: version >= 12}
	buf := NewBuffer(1 << minClassBits)
	e.b = appendResponseHeader(buf.B[:0], correlationID, e.flexible)
	e.int32(f.ThrottleMillis)
	if version >= 7 {
		e.int16(f.ErrorCode)
		e.int32(f.SessionID)
	}
	e.arrayLen(len(f.Topics))
	for i := range f.Topics {
		e.topic(&f.Topics[i])
	}
	e.endpoints(f.NodeEndpoints)
	return sealBody(buf, e.b, e.runs)
}

type fetchEncoder struct {
	version  int16
	flexible bool
	b        []byte
	runs     []run
}

func (e *fetchEncoder) topic(t *FetchTopic) {
	if e.version >= 13 {
		e.b = append(e.b, t.TopicID[:]...)
	} else {
		e.string(t.Topic)
	}
	e.arrayLen(len(t.Partitions))
	for i := range t.Partitions {
		e.partition(&t.Partitions[i])
	}
	e.noTags()
}

func (e *fetchEncoder) partition(p *FetchPartition) {
	e.int32(p.Partition)
	e.int16(p.ErrorCode)
	e.int64(p.HighWatermark)
	e.int64(p.LastStableOffset)
	if e.version >= 5 {
		e.int64(p.LogStartOffset)
	}
	if p.Aborted == nil {
		e.nullArray()
	} else {
		e.arrayLen(len(p.Aborted))
	}
	for i := range p.Aborted {
		e.int64(p.Aborted[i].ProducerID)
		e.int64(p.Aborted[i].FirstOffset)
		e.noTags()
	}
	if e.version >= 11 {
		e.int32(p.PreferredReadReplica)
	}
	e.records(p)
	if e.flexible {
		e.partitionTags(p)
	}
}

// records writes the length of a partition's records and leaves the bytes to their extents.
func (e *fetchEncoder) records(p *FetchPartition) {
	size := 0
	for _, x := range p.Records {
		size += x.Len()
	}
	if e.flexible {
		e.b = binary.AppendUvarint(e.b, uint64(size)+1)
	} else {
		e.int32(int32(size))
	}
	for _, x := range p.Records {
		if x.Len() == 0 {
			x.Release()
			continue
		}
		e.runs = append(e.runs, run{at: len(e.b), ext: x})
	}
	p.Records = nil
}

func (e *fetchEncoder) partitionTags(p *FetchPartition) {
	diverging := p.DivergingEpoch != EpochEnd{Epoch: -1, EndOffset: -1}
	leader := p.CurrentLeader != LeaderEpoch{LeaderID: -1, LeaderEpoch: -1}
	n := byte(0)
	if diverging {
		n++
	}
	if leader {
		n++
	}
	e.b = append(e.b, n)
	if diverging {
		e.b = append(e.b, 0, 4+8+1)
		e.int32(p.DivergingEpoch.Epoch)
		e.int64(p.DivergingEpoch.EndOffset)
		e.noTags()
	}
	if leader {
		e.b = append(e.b, 1, 4+4+1)
		e.int32(p.CurrentLeader.LeaderID)
		e.int32(p.CurrentLeader.LeaderEpoch)
		e.noTags()
	}
}

// endpoints ends the message: the node endpoints are its one tagged field, known from v16.
func (e *fetchEncoder) endpoints(brokers []kmsg.FetchResponseBroker) {
	if !e.flexible {
		return
	}
	if e.version < 16 || len(brokers) == 0 {
		e.noTags()
		return
	}
	in := fetchEncoder{version: e.version, flexible: true}
	in.arrayLen(len(brokers))
	for i := range brokers {
		in.int32(brokers[i].NodeID)
		in.string(brokers[i].Host)
		in.int32(brokers[i].Port)
		if rack := brokers[i].Rack; rack == nil {
			in.b = append(in.b, 0)
		} else {
			in.string(*rack)
		}
		in.noTags()
	}
	e.b = append(e.b, 1, 0)
	e.b = binary.AppendUvarint(e.b, uint64(len(in.b)))
	e.b = append(e.b, in.b...)
}

func (e *fetchEncoder) int16(v int16) { e.b = binary.BigEndian.AppendUint16(e.b, uint16(v)) }
func (e *fetchEncoder) int32(v int32) { e.b = binary.BigEndian.AppendUint32(e.b, uint32(v)) }
func (e *fetchEncoder) int64(v int64) { e.b = binary.BigEndian.AppendUint64(e.b, uint64(v)) }

func (e *fetchEncoder) string(s string) {
	if e.flexible {
		e.b = binary.AppendUvarint(e.b, uint64(len(s))+1)
	} else {
		e.int16(int16(len(s)))
	}
	e.b = append(e.b, s...)
}

func (e *fetchEncoder) arrayLen(n int) {
	if e.flexible {
		e.b = binary.AppendUvarint(e.b, uint64(n)+1)
	} else {
		e.int32(int32(n))
	}
}

func (e *fetchEncoder) nullArray() {
	if e.flexible {
		e.b = append(e.b, 0)
	} else {
		e.int32(-1)
	}
}

// noTags ends a struct without tagged fields.
func (e *fetchEncoder) noTags() {
	if e.flexible {
		e.b = append(e.b, 0)
	}
}
