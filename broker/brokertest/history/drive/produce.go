package drive

import (
	"context"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"firn/broker/brokertest/history"
)

// produce sends records to all partitions in turn. At its end it waits for what is under way, but if it is to crash it
// does not.
func (d *Driver) produce(ctx context.Context, l *lifetime) error {
	alive, crash := context.WithCancel(d.abandon)
	defer crash()
	cl, err := d.client(alive, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0), kgo.MaxBufferedRecords(2*maxInFlight),
		kgo.StopProducerOnDataLossDetected(), kgo.ProducerBatchMaxBytes(64<<10))
	if err != nil {
		return err
	}
	slots := make(chan struct{}, maxInFlight)
	ends, fail := context.WithCancel(l.ends)
	defer fail()
	var sent sync.WaitGroup
	begin := time.Now()
	for n := int64(0); d.turn(ends, begin, n) && acquire(ends, slots); n++ {
		d.send(cl, l, n, &sent, func(ends bool) {
			<-slots
			if ends {
				fail()
			}
		})
	}
	if l.crashes(ctx) {
		crash()
	}
	_ = cl.Flush(alive) // no error but that of a crash
	crash()
	cl.Close()
	sent.Wait()
	return nil
}

// turn waits for when record n is due.
func (d *Driver) turn(ctx context.Context, begin time.Time, n int64) bool {
	ahead := time.Duration(n)*d.o.Gap - time.Since(begin)
	if ahead <= 0 {
		return ctx.Err() == nil
	}
	select {
	case <-time.After(ahead):
		return true
	case <-ctx.Done():
		return false
	}
}

func acquire(ctx context.Context, slots chan struct{}) bool {
	select {
	case slots <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// send sends record n of a process; done is told whether the process has lost its place.
func (d *Driver) send(cl *kgo.Client, l *lifetime, n int64, sent *sync.WaitGroup, done func(ends bool)) {
	w := history.Record{Key: history.Key(n % int64(d.o.Partitions)), Offset: history.Unknown, Value: int64(l.process)*perProcess + n}
	op := d.rec.Invoke(history.Op{Process: l.process, Func: history.Send, Writes: []history.Record{w}})
	r := &kgo.Record{Topic: d.o.Topic, Partition: int32(w.Key), Value: payload(w.Value, l.rng.IntN(d.o.RecordBytes+1))}
	sent.Add(1)
	cl.Produce(context.Background(), r, func(r *kgo.Record, err error) {
		defer sent.Done()
		end := outcome(err, true)
		if err == nil {
			w.Offset = r.Offset
			end.Writes = []history.Record{w}
			d.known(w.Key, w.Offset)
		}
		d.rec.Complete(op, end)
		if err == nil {
			d.acked.Add(1)
		}
		done(end.Err != "" && history.Judge(end.Err).Ends)
	})
}
