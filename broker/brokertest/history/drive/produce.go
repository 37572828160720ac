package drive

import (
	"context"
	"sync"
	"time"

	"firn/broker/brokertest/history"
)

// produce sends records to all partitions in turn. At its end it waits for what is under way, but if it is to crash it
// does not.
func (d *Driver) produce(ctx context.Context, l *lifetime) error {
	alive, crash := context.WithCancel(d.abandon)
	defer crash()
	p, err := d.o.Library.Producer(alive)
	if err != nil {
		return err
	}
	slots := make(chan struct{}, maxInFlight)
	ends, fail := context.WithCancel(l.ends)
	defer fail()
	var sent sync.WaitGroup
	begin := time.Now()
	for n := int64(0); d.turn(ends, begin, n) && acquire(ends, slots); n++ {
		d.send(p, l, n, &sent, func(ends bool) {
			<-slots
			if ends {
				fail()
			}
		})
	}
	if l.crashes(ctx) {
		crash()
	}
	p.Close()
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
func (d *Driver) send(p Producer, l *lifetime, n int64, sent *sync.WaitGroup, done func(ends bool)) {
	w := history.Record{Key: history.Key(n % int64(d.o.Partitions)), Offset: history.Unknown, Value: int64(l.process)*perProcess + n}
	op := d.rec.Invoke(history.Op{Process: l.process, Func: history.Send, Writes: []history.Record{w}})
	sent.Add(1)
	p.Send(int32(w.Key), message(w.Value, l.rng, d.o.RecordBytes), func(offset int64, err error) {
		defer sent.Done()
		end := outcome(d.o.Library.Name(err), true)
		if err == nil {
			w.Offset = offset
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
