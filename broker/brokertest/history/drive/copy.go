package drive

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"firn/broker/brokertest/history"
)

// copyBytes bounds an answer to a read of a copy.
const copyBytes = 4 << 20

// ReadCopy reads what one broker has of some partitions, of all if none is named, up to its high watermark, as a consumer does
// for which that copy is the nearest. The history then holds it against what all others saw. It tries until ctx ends, also if
// the high watermark is below what was acknowledged or read before: such a copy gives its consumers nothing any more.
func (d *Driver) ReadCopy(ctx context.Context, broker int32, partitions ...int32) error {
	cl, err := franz{o: &d.o}.client(ctx, kgo.MaxVersions(kversion.V3_0_0())) // topics by name
	if err != nil {
		return err
	}
	defer cl.Close()
	process := d.process.Add(1)
	if len(partitions) == 0 {
		for p := range d.o.Partitions {
			partitions = append(partitions, p)
		}
	}
	for _, p := range partitions {
		n := d.rec.Invoke(history.Op{Process: process, Func: history.Replica, Via: fmt.Sprintf("broker %d", broker)})
		span, recs, err := d.copyOf(ctx, cl.Broker(int(broker)), p)
		done := outcome(franz{}.Name(err), true)
		done.Reads, done.Spans = recs, []history.Span{span}
		d.rec.Complete(n, done)
		if err != nil {
			return fmt.Errorf("read %s-%d of broker %d: %w", d.o.Topic, p, broker, err)
		}
	}
	return nil
}

// copyOf reads a partition from its start to where its high watermark was when it was first as high as it must be.
func (d *Driver) copyOf(ctx context.Context, b *kgo.Broker, partition int32) (span history.Span, recs []history.Record, err error) {
	span = history.Span{Key: history.Key(partition)}
	known, least := false, d.ends()[partition]
	for next := int64(0); !known || next < span.End; {
		got, at, err := d.fetch(ctx, b, partition, next)
		if err == nil && got.HighWatermark < least {
			err = fmt.Errorf("high watermark %d of a partition that has records up to %d", got.HighWatermark, least)
		}
		if err != nil {
			if pause(ctx); ctx.Err() != nil {
				return span, recs, err
			}
			continue
		}
		if !known {
			span.Start, span.End, known = max(got.LogStartOffset, 0), got.HighWatermark, true
		}
		for _, r := range got.Records {
			if r.Offset < span.End {
				m := franzMessage(r)
				recs = append(recs, history.Record{Key: span.Key, Offset: r.Offset, Value: m.number()})
			}
		}
		next = max(at, next)
	}
	return span, recs, nil
}

// fetch asks a broker once and returns what it has from an offset on, and the offset behind that.
func (d *Driver) fetch(ctx context.Context, b *kgo.Broker, partition int32, offset int64) (kgo.FetchPartition, int64, error) {
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.SessionEpoch, req.IsolationLevel = int32(pollWait.Milliseconds()), 1, copyBytes, -1, 1
	rt, rp := kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
	rt.Topic, rp.Partition, rp.FetchOffset, rp.PartitionMaxBytes = d.o.Topic, partition, offset, copyBytes
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	answer, err := b.RetriableRequest(ctx, req)
	if err != nil {
		return kgo.FetchPartition{}, 0, err
	}
	resp := answer.(*kmsg.FetchResponse)
	if resp.ErrorCode != 0 || len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return kgo.FetchPartition{}, 0, fmt.Errorf("fetch of one partition: %d topics, %w", len(resp.Topics), kerr.ErrorForCode(resp.ErrorCode))
	}
	o := kgo.ProcessFetchPartitionOpts{Offset: offset, IsolationLevel: kgo.ReadCommitted(), Topic: d.o.Topic, Partition: partition}
	got, next := kgo.ProcessFetchPartition(o, &resp.Topics[0].Partitions[0], kgo.DefaultDecompressor(), nil)
	return got, next, got.Err
}
