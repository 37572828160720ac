package wire

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/wire/randmsg"
)

// counted is an extent that counts its releases.
type counted struct {
	Bytes
	released int
}

func (c *counted) Release() { c.released++ }

// randomFetch returns a response and the same in kmsg's words.
func randomFetch(rng *rand.Rand, version int16) (*FetchResponse, *kmsg.FetchResponse, []*counted) {
	var extents []*counted
	want := kmsg.NewPtrFetchResponse()
	randmsg.Fill(rng, want)
	want.Version = version
	want.UnknownTags = kmsg.Tags{}
	got := &FetchResponse{ThrottleMillis: want.ThrottleMillis, ErrorCode: want.ErrorCode, SessionID: want.SessionID}
	if version >= 16 {
		for i := range want.Brokers {
			want.Brokers[i].UnknownTags = kmsg.Tags{}
		}
		got.NodeEndpoints = want.Brokers
	} else {
		want.Brokers = nil
	}
	for i := range want.Topics {
		wt := &want.Topics[i]
		wt.UnknownTags = kmsg.Tags{}
		gt := FetchTopic{Topic: wt.Topic, TopicID: wt.TopicID}
		for j := range wt.Partitions {
			gp, ext := randomFetchPartition(rng, &wt.Partitions[j])
			gt.Partitions = append(gt.Partitions, gp)
			extents = append(extents, ext...)
		}
		got.Topics = append(got.Topics, gt)
	}
	return got, want, extents
}

func randomFetchPartition(rng *rand.Rand, w *kmsg.FetchResponseTopicPartition) (FetchPartition, []*counted) {
	w.UnknownTags = kmsg.Tags{}
	w.SnapshotID = kmsg.NewFetchResponseTopicPartitionSnapshotID()
	w.DivergingEpoch.UnknownTags = kmsg.Tags{}
	w.CurrentLeader.UnknownTags = kmsg.Tags{}
	if rng.IntN(2) == 0 {
		w.DivergingEpoch = kmsg.NewFetchResponseTopicPartitionDivergingEpoch()
	}
	if rng.IntN(2) == 0 {
		w.CurrentLeader = kmsg.NewFetchResponseTopicPartitionCurrentLeader()
	}
	if rng.IntN(2) == 0 {
		w.AbortedTransactions = nil
	}
	for i := range w.AbortedTransactions {
		w.AbortedTransactions[i].UnknownTags = kmsg.Tags{}
	}
	p := NewFetchPartition(w.Partition)
	p.ErrorCode, p.HighWatermark, p.LastStableOffset, p.LogStartOffset = w.ErrorCode, w.HighWatermark, w.LastStableOffset, w.LogStartOffset
	p.PreferredReadReplica, p.Aborted = w.PreferredReadReplica, w.AbortedTransactions
	p.DivergingEpoch = EpochEnd{w.DivergingEpoch.Epoch, w.DivergingEpoch.EndOffset}
	p.CurrentLeader = LeaderEpoch{w.CurrentLeader.LeaderID, w.CurrentLeader.LeaderEpoch}
	w.RecordBatches = []byte{}
	var extents []*counted
	for range rng.IntN(4) {
		e := &counted{Bytes: randmsg.Bytes(rng)}
		w.RecordBatches = append(w.RecordBatches, e.Bytes...)
		p.Records = append(p.Records, e)
		extents = append(extents, e)
	}
	return p, extents
}

func TestEncodeFetchAgreesWithTheCodec(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	for version := int16(4); version <= 18; version++ {
		t.Run(fmt.Sprint("v", version), func(t *testing.T) {
			for range 200 {
				resp, want, extents := randomFetch(rng, version)
				body := EncodeFetch(77, version, resp)
				plain := EncodeResponse(77, want)
				var got, exp bytes.Buffer
				if _, err := body.WriteTo(&got); err != nil {
					t.Fatal(err)
				}
				if _, err := plain.WriteTo(&exp); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(got.Bytes(), exp.Bytes()) {
					t.Fatalf("encoded\n%x\nkmsg says\n%x\nof %+v", got.Bytes(), exp.Bytes(), want)
				}
				if body.Len() != got.Len() {
					t.Fatalf("Len %d, wrote %d", body.Len(), got.Len())
				}
				body.Release()
				plain.Release()
				resp.Release() // has nothing left to release
				for _, e := range extents {
					if e.released != 1 {
						t.Fatalf("extent of %d bytes released %d times", e.Len(), e.released)
					}
				}
			}
		})
	}
}

// A response that is not sent gives its extents back as well.
func TestFetchResponseRelease(t *testing.T) {
	e := &counted{Bytes: []byte("x")}
	p := NewFetchPartition(0)
	p.Records = []Extent{e}
	f := &FetchResponse{Topics: []FetchTopic{{Partitions: []FetchPartition{p}}}}
	f.Release()
	f.Release()
	if e.released != 1 {
		t.Fatalf("released %d times", e.released)
	}
}

func BenchmarkEncodeFetch(b *testing.B) {
	resp := func() *FetchResponse {
		t := FetchTopic{Topic: "topic"}
		for i := range int32(100) {
			p := NewFetchPartition(i)
			p.Records = []Extent{Bytes(make([]byte, 16))}
			t.Partitions = append(t.Partitions, p)
		}
		return &FetchResponse{Topics: []FetchTopic{t}}
	}
	r := resp()
	recs := make([][]Extent, len(r.Topics[0].Partitions))
	for i := range recs {
		recs[i] = r.Topics[0].Partitions[i].Records
	}
	b.ReportAllocs()
	for b.Loop() {
		for i := range recs {
			r.Topics[0].Partitions[i].Records = recs[i]
		}
		EncodeFetch(1, 12, r).Release()
	}
}
