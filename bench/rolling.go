package bench

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// underLoad runs fn on three fresh brokers while a producer sends to all partitions of a topic, idempotent and with acks=all,
// and a reader reads them, franz-go with its defaults both. Each broker leads a third. That neither of them fails over all of
// it is checked at the end.
func (s *Suite) underLoad(ctx context.Context, sec *Section, topic string, fn func(*trio, *steady) error) error {
	const gap = 100 * time.Millisecond
	n := s.Cluster.Rolling
	sec.Setting = fmt.Sprintf("flush: %s; RF 3, all in sync, acks=all, idempotent, a record of %d B per partition every %v, and a reader; "+
		"franz-go with its defaults, which uses CurrentLeader", Durable, recordBytes, gap)
	values, err := s.values(JSON)
	if err != nil {
		return err
	}
	return s.onTrio(ctx, topic, func(t *trio) error {
		if err := t.createPlaced(ctx, topic, ledByAll(n), Durable, nil); err != nil {
			return err
		}
		load, err := (&Steady{
			Cluster: t.cluster, Topic: topic, Partitions: n, Gap: gap, Values: values, Options: []kgo.Opt{kgo.ConnIdleTimeout(idleConnection)},
		}).start(ctx)
		if err != nil {
			return err
		}
		defer func() { _, _ = load.stop() }()
		reader, err := t.cluster.startTail(ctx, topic, n)
		if err != nil {
			return err
		}
		defer func() { _, _ = reader.stop() }()
		if err := fn(t, load); err != nil {
			return err
		}
		acked, err := load.stop()
		read, readErr := reader.stop()
		failures := 0.0
		for _, err := range []error{err, readErr} {
			if err != nil {
				failures++
				sec.note("a client failed: %v", err)
			}
		}
		sec.note("%d records acked, %d read", acked, read)
		sec.check("clients that failed", "", []float64{failures}, 0, true)
		return nil
	})
}

// idleConnection is when the producer closes a connection that it does not use. franz-go does not see that a broker has closed
// one until it uses it again, and then pauses for a quarter of a second; by its defaults that is over long before leadership goes
// back to a broker by itself, five minutes after its return.
const idleConnection = time.Second

// rolling stops a broker in good order and starts it again under load, one broker after the other.
func (s *Suite) rolling(ctx context.Context) (*Section, error) {
	sec := &Section{Name: fmt.Sprintf("brokers stop and start again, %d partitions", s.Cluster.Rolling)}
	err := s.underLoad(ctx, sec, "rolling", func(t *trio, load *steady) error {
		for range s.Rounds {
			for _, b := range t.brokers {
				if err := s.roll(ctx, t, sec, load, b); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	sec.check("pause of a partition when its leader stops, p99", "ms", sec.figure("stop, pause p99", "").Rounds, limitPause, true)
	sec.check("pause of a partition when a broker is back and leads again, p99", "ms", sec.figure("back, pause p99", "").Rounds, limitPause, true)
	return sec, nil
}

// roll stops a broker, starts it again, and has it lead what it led before.
func (s *Suite) roll(ctx context.Context, t *trio, sec *Section, load *steady, b *node) error {
	quiet := func(what string) error { // what a pause is measured against
		load.mark()
		if err := sleep(ctx, 2*time.Second); err != nil {
			return err
		}
		sec.figure(what+", pause p99", "ms").add(load.pauses().At(99))
		load.mark()
		return nil
	}
	if err := quiet("nothing happens"); err != nil {
		return err
	}
	w, err := t.watchTakeover(ctx, slices.Index(t.brokers, b)+1)
	if err != nil {
		return err
	}
	defer w.close()
	w.begin()
	if err := b.stop(); err != nil {
		return err
	}
	if err := sleep(ctx, time.Second); err != nil {
		return err
	}
	for _, p := range percentiles {
		if p.at == 50 || p.at == 99 || p.at == 100 {
			sec.figure("stop, pause "+p.name, "ms").add(load.pauses().At(p.at))
		}
	}
	if _, err := w.addTo(sec); err != nil {
		return err
	}
	if err := b.again(ctx); err != nil {
		return err
	}
	if err := t.awaitInSync(ctx, load.Topic, load.Partitions, trioSize); err != nil {
		return err
	}
	if err := quiet("broker back, leads nothing"); err != nil {
		return err
	}
	if err := t.rebalance(ctx, load.Topic, load.Partitions); err != nil {
		return err
	}
	if err := sleep(ctx, time.Second); err != nil {
		return err
	}
	sec.figure("back, pause p99", "ms").add(load.pauses().At(99))
	return nil
}
