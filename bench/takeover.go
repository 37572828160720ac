package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// takeover sees other brokers take over from one that ends: in etcd when its registration goes, when somebody is the controller
// again and when partitions get leaders; in the brokers' logs when replicas begin to lead.
type takeover struct {
	brokers []*node
	logged  map[*node]int64 // how long each log was
	began   time.Time

	cl     *clientv3.Client
	cancel context.CancelFunc
	done   chan struct{}

	mu         sync.Mutex
	gone       time.Time // zero until it is seen, like all below
	controller time.Time // it may have been one of the others all the time
	elected    span
}

// span is when the first and the last of many did something.
type span struct{ first, last time.Time }

func (s *span) add(at time.Time) {
	if s.first.IsZero() || at.Before(s.first) {
		s.first = at
	}
	if at.After(s.last) {
		s.last = at
	}
}

// electionWindow is how long after a registration's end a partition's record is written because of it; later it is because
// the broker is back.
const electionWindow = 10 * time.Second

// watchTakeover begins to watch for the end of a broker.
func (t *trio) watchTakeover(ctx context.Context, broker int) (*takeover, error) {
	cl, err := clientv3.New(clientv3.Config{Endpoints: []string{t.endpoint}, DialTimeout: startPatience, Context: ctx})
	if err != nil {
		return nil, fmt.Errorf("watch etcd: %w", err)
	}
	w := &takeover{brokers: t.brokers, logged: logSizes(t.brokers), cl: cl, done: make(chan struct{})}
	ctx, w.cancel = context.WithCancel(ctx)
	registration := fmt.Sprintf("/b/%d", broker)
	events := cl.Watch(clientv3.WithRequireLeader(ctx), "/k/", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	if created := <-events; !created.Created {
		w.cancel()
		return nil, errors.Join(fmt.Errorf("watch etcd: %w", created.Err()), cl.Close())
	}
	go func() {
		defer close(w.done)
		for resp := range events {
			w.take(resp.Events, registration)
		}
	}()
	return w, nil
}

func (w *takeover) take(events []*clientv3.Event, registration string) {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range events {
		key := string(e.Kv.Key)
		switch ours := !w.gone.IsZero() && now.Sub(w.gone) < electionWindow; {
		case strings.HasSuffix(key, registration) && e.Type == clientv3.EventTypeDelete && w.gone.IsZero():
			w.gone = now
		case strings.HasSuffix(key, "/ctl") && e.Type == clientv3.EventTypePut && ours:
			w.controller = now
		case strings.Contains(key, "/p/") && ours:
			w.elected.add(now)
		}
	}
}

// begin notes that the broker is about to be ended.
func (w *takeover) begin() { w.began = time.Now() }

// addTo adds a round of each step, from the end of the registration on, which it returns.
func (w *takeover) addTo(sec *Section) (gone time.Time, err error) {
	led, err := w.led()
	if err != nil {
		return time.Time{}, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.gone.IsZero() || w.elected.first.IsZero() {
		return time.Time{}, errors.New("no end of a registration and no election were seen in etcd")
	}
	sec.figure("1. registration ends, after the broker", "s").add(w.gone.Sub(w.began).Seconds())
	step := func(name string, at time.Time) { sec.figure(name, "s").add(at.Sub(w.gone).Seconds()) }
	if !w.controller.IsZero() {
		step("2. from then on: another controller", w.controller)
	}
	step("3. first leader elected", w.elected.first)
	step("   last leader elected", w.elected.last)
	step("4. first leader leads", led.first)
	step("   last leader leads", led.last)
	return w.gone, nil
}

func (w *takeover) close() {
	w.cancel()
	<-w.done
	_ = w.cl.Close()
}

func logSizes(brokers []*node) map[*node]int64 {
	sizes := make(map[*node]int64)
	for _, n := range brokers {
		if fi, err := os.Stat(n.log); err == nil {
			sizes[n] = fi.Size()
		}
	}
	return sizes
}

// led finds in the brokers' logs when replicas have begun to lead.
func (w *takeover) led() (span, error) {
	var led span
	for _, n := range w.brokers {
		f, err := os.Open(n.log)
		if err != nil {
			return led, err
		}
		if _, err := f.Seek(w.logged[n], 0); err != nil {
			return led, errors.Join(err, f.Close())
		}
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			if at, ok := leads(lines.Text()); ok && at.After(w.began) {
				led.add(at)
			}
		}
		if err := errors.Join(lines.Err(), f.Close()); err != nil {
			return led, err
		}
	}
	if led.first.IsZero() {
		return led, errors.New("no broker logged that it leads")
	}
	return led, nil
}

// leads returns when a line of a log says that a replica began to lead.
func leads(line string) (time.Time, bool) {
	stamp, ok := strings.CutPrefix(line, "time=")
	if !ok || !strings.Contains(line, " msg=leads ") {
		return time.Time{}, false
	}
	stamp, _, _ = strings.Cut(stamp, " ")
	at, err := time.Parse(time.RFC3339Nano, stamp)
	return at, err == nil
}
