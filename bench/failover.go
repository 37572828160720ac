package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// failoverRate is how many records a second all partitions get together: enough that each has one under way or soon
	// will when its leader dies, little enough that the machine is not busy with them.
	failoverRate = 4000
	// besidePartitions is how many partitions a client with its defaults writes to beside the one that is judged.
	besidePartitions = 12
	// soonRefresh is how often the client that is judged asks who leads.
	soonRefresh = 50 * time.Millisecond
	// deadLeader is the broker that leads all partitions, until it is killed.
	deadLeader = 1
)

// failoverCase is one size of a failover.
type failoverCase struct {
	partitions int
	ttl        time.Duration
	limit      float64 // s from the end of the lease
}

// failover kills the leader of all partitions and measures until each takes records again.
func (s *Suite) failover(ctx context.Context) error {
	for _, c := range []failoverCase{
		{s.Cluster.Failover, 2 * time.Second, limitFailover},
		{s.Cluster.Failover, 6 * time.Second, limitFailover},
		{s.Cluster.LargeFailover, 6 * time.Second, limitLargeFailover},
	} {
		ttl := fmt.Sprintf("broker.session.timeout.ms=%d", c.ttl.Milliseconds())
		err := s.onTrio(ctx, "failover", func(t *trio) error {
			sec, err := s.failovers(ctx, t, c)
			if err != nil {
				return err
			}
			return s.Done(sec)
		}, ttl)
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Suite) failovers(ctx context.Context, t *trio, c failoverCase) (*Section, error) {
	gap := time.Second * time.Duration(c.partitions) / failoverRate
	sec := &Section{
		Name: fmt.Sprintf("leader of %d partitions killed, lease of %v", c.partitions, c.ttl),
		Setting: fmt.Sprintf("flush: %s; RF 3, acks=all, idempotent, a record of %d B per partition every %v; the judged client asks for metadata every %v",
			Relaxed, recordBytes, gap, soonRefresh),
	}
	const topic, other = "killed", "killed-beside"
	if err := t.createPlaced(ctx, topic, ledBy(deadLeader, c.partitions), Relaxed, nil); err != nil {
		return nil, err
	}
	if err := t.createPlaced(ctx, other, ledBy(deadLeader, besidePartitions), Relaxed, nil); err != nil {
		return nil, err
	}
	values, err := s.values(JSON)
	if err != nil {
		return nil, err
	}
	judged := &Steady{
		Cluster: t.cluster, Topic: topic, Partitions: c.partitions, Gap: gap, Values: values,
		Options: []kgo.Opt{kgo.MetadataMaxAge(soonRefresh), kgo.MetadataMinAge(soonRefresh), kgo.RetryBackoffFn(func(int) time.Duration { return soonRefresh })},
	}
	beside := &Steady{Cluster: t.cluster, Topic: other, Partitions: besidePartitions, Gap: 100 * time.Millisecond, Values: values}
	for round := range s.Rounds {
		if err := s.killLeader(ctx, t, sec, judged, beside); err != nil {
			return nil, fmt.Errorf("round %d: %w", round+1, err)
		}
		for _, l := range []*Steady{judged, beside} {
			if err := t.rebalance(ctx, l.Topic, l.Partitions); err != nil {
				return nil, err
			}
		}
	}
	sec.check("last write resumes after the lease's end", "s", sec.figure("5. last ack", "").Rounds, c.limit, true)
	return sec, nil
}

// killLeader is one round: it ends with the killed broker back and in sync.
func (s *Suite) killLeader(ctx context.Context, t *trio, sec *Section, judged, beside *Steady) error {
	load, err := judged.start(ctx)
	if err != nil {
		return err
	}
	defer func() { _, _ = load.stop() }()
	plain, err := beside.start(ctx)
	if err != nil {
		return err
	}
	defer func() { _, _ = plain.stop() }()
	others, err := s.startBeside(ctx, t, beside)
	defer func() {
		for _, f := range others {
			f.kill()
		}
	}()
	if err != nil {
		return err
	}
	w, err := watchKeys(ctx, t.endpoint, deadLeader)
	if err != nil {
		return err
	}
	defer w.close()
	logged := logSizes(t.brokers)
	victim := t.brokers[deadLeader-1]
	killed := time.Now()
	victim.kill()
	// What was acked in its last moments may arrive now; after this nothing is acked before others lead.
	if err := sleep(ctx, time.Second); err != nil {
		return err
	}
	load.mark()
	plain.mark()
	acks, err := load.firsts(ctx, partitionList(judged.Partitions))
	if err != nil {
		return err
	}
	besides, err := plain.firsts(ctx, partitionList(beside.Partitions))
	if err != nil {
		return err
	}
	expired, elected, err := w.seen()
	if err != nil {
		return err
	}
	led, err := lastLeads(t.brokers, logged, killed)
	if err != nil {
		return err
	}
	after := func(name string, at time.Time) { sec.figure(name, "s").add(at.Sub(expired).Seconds()) }
	sec.figure("1. lease ends after the kill", "s").add(expired.Sub(killed).Seconds())
	after("2. last leader elected, after the lease's end", elected)
	after("3. last leader leads", led)
	after("4. first ack", acks[0])
	after("   median ack", acks[len(acks)/2])
	after("5. last ack", acks[len(acks)-1])
	after("franz-go with its defaults, last ack", besides[len(besides)-1])
	for _, f := range others {
		at, err := f.last()
		if err != nil {
			return err
		}
		after(f.name+" with its defaults, last ack", at)
	}
	if err := t.bringBack(ctx, victim, judged, beside); err != nil {
		return err
	}
	return errors.Join(load.err(), plain.err())
}

// startBeside starts the clients of other languages.
func (s *Suite) startBeside(ctx context.Context, t *trio, beside *Steady) (others []*foreign, err error) {
	for _, name := range slices.Sorted(maps.Keys(s.Beside)) {
		f, err := startForeign(ctx, name, s.Beside[name], &paceCommand{
			Op: "pace", Topic: beside.Topic, N: beside.Partitions, Millis: beside.Gap.Milliseconds(), Time: s.Cluster.Foreign.Milliseconds(),
		}, t.cluster)
		if err != nil {
			return others, err
		}
		others = append(others, f)
	}
	if len(others) == 0 {
		return nil, nil
	}
	return others, sleep(ctx, foreignStart)
}

func partitionList(n int) []int32 {
	var list []int32
	for p := range int32(n) {
		list = append(list, p)
	}
	return list
}

// sleep waits unless ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// keyWatch sees in etcd when a broker's registration goes, and when the last partition after that got a leader.
type keyWatch struct {
	cl     *clientv3.Client
	cancel context.CancelFunc
	done   chan struct{}

	mu               sync.Mutex
	expired, elected time.Time
}

func watchKeys(ctx context.Context, endpoint string, broker int) (*keyWatch, error) {
	cl, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, DialTimeout: startPatience, Context: ctx})
	if err != nil {
		return nil, fmt.Errorf("watch etcd: %w", err)
	}
	w := &keyWatch{cl: cl, done: make(chan struct{})}
	ctx, w.cancel = context.WithCancel(ctx)
	registration := fmt.Sprintf("/b/%d", broker)
	events := cl.Watch(clientv3.WithRequireLeader(ctx), "/k/", clientv3.WithPrefix())
	go func() {
		defer close(w.done)
		for resp := range events {
			now := time.Now()
			w.mu.Lock()
			for _, e := range resp.Events {
				switch key := string(e.Kv.Key); {
				case strings.HasSuffix(key, registration) && e.Type == clientv3.EventTypeDelete && w.expired.IsZero():
					w.expired = now
				case strings.Contains(key, "/p/") && !w.expired.IsZero() && now.Sub(w.expired) < electionWindow:
					w.elected = now
				}
			}
			w.mu.Unlock()
		}
	}()
	return w, nil
}

// electionWindow is how long after a lease's end a partition's record is written because of it; later it is because the
// broker is back.
const electionWindow = 10 * time.Second

func (w *keyWatch) seen() (expired, elected time.Time, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.expired.IsZero() || w.elected.IsZero() {
		err = errors.New("no end of a lease and no election were seen in etcd")
	}
	return w.expired, w.elected, err
}

func (w *keyWatch) close() {
	w.cancel()
	<-w.done
	_ = w.cl.Close()
}

// bringBack starts a killed broker again, and waits until all of the loads' topics are in sync.
func (t *trio) bringBack(ctx context.Context, victim *node, loads ...*Steady) error {
	if err := victim.again(ctx); err != nil {
		return err
	}
	for _, l := range loads {
		if err := t.awaitInSync(ctx, l.Topic, l.Partitions, trioSize); err != nil {
			return err
		}
	}
	return nil
}

// logSizes is how long the brokers' logs are.
func logSizes(brokers []*node) map[*node]int64 {
	sizes := make(map[*node]int64)
	for _, n := range brokers {
		if fi, err := os.Stat(n.log); err == nil {
			sizes[n] = fi.Size()
		}
	}
	return sizes
}

// lastLeads finds in the brokers' logs when the last replica began to lead, after a time. logged is how long each log was.
func lastLeads(brokers []*node, logged map[*node]int64, after time.Time) (time.Time, error) {
	var times []time.Time
	for _, n := range brokers {
		f, err := os.Open(n.log)
		if err != nil {
			return time.Time{}, err
		}
		if _, err := f.Seek(logged[n], 0); err != nil {
			return time.Time{}, errors.Join(err, f.Close())
		}
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			if at, ok := leads(lines.Text()); ok && at.After(after) {
				times = append(times, at)
			}
		}
		if err := errors.Join(lines.Err(), f.Close()); err != nil {
			return time.Time{}, err
		}
	}
	if len(times) == 0 {
		return time.Time{}, errors.New("no broker logged that it leads")
	}
	return slices.MaxFunc(times, time.Time.Compare), nil
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
