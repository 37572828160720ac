//go:build root && linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/twmb/franz-go/pkg/kgo"

	"firn/broker/brokertest"
	"firn/broker/brokertest/clustertest"
	"firn/broker/brokertest/history"
	"firn/broker/brokertest/history/drive"
	"firn/deploy/tools/toolbox"
	"firn/metadata/etcd"
	"firn/metadata/kvtest"
	"firn/tiering/objstore/objtest"
)

const (
	chaosRound = 5 * time.Minute  // after which everything is judged and topics are made anew: a history is kept in memory
	maxActive  = 3                // faults
	aloneFor   = 15 * time.Second // a fault has, before a cluster that stands it must be at work again
	diskSize   = 3 << 30
	diskFull   = 64 << 20 // disk.free.full
)

// chaos is three brokers with a disk each, three etcd members and a bucket, each on a host of its own, and clients at work,
// while all that can go wrong does.
type chaos struct {
	t       *testing.T
	rng     *rand.Rand
	w       *world
	cluster *clustertest.Cluster
	brokers []*machine
	etcds   []*machine

	bucket     *objtest.Server
	bucketHost *host
	bucketHit  bool

	work    []*work
	active  []active
	dir     string // for histories and logs, if anybody wants them
	started time.Time

	faults, operations, violations int
}

// work is the clients of one topic.
type work struct {
	topic   string
	tiered  bool
	relaxed bool
	d       *drive.Driver
	lines   io.Closer
}

// active is a fault that has not ended.
type active struct {
	what  string
	began time.Time
	until time.Time
	alone bool // nothing else was wrong since it began, and records are to be acknowledged
	end   func()
}

// Brokers, etcd and the bucket die, freeze, lose each other, their disks' last writes and whole disks, one after the other
// and some together, while idempotent producers write with acks=all to durable and relaxed topics and groups read them.
// What is promised holds, and when the faults end everything is in sync again by itself. FIRN_TEST_CHAOS_MINUTES of it choose faults
// at random; without, each comes once.
func TestChaos(t *testing.T) {
	seed := uint64(envInt(t, "FIRN_SEED", int(time.Now().UnixNano()&0x7fffffff)))
	minutes := envInt(t, "FIRN_TEST_CHAOS_MINUTES", 0)
	c := &chaos{t: t, rng: rand.New(rand.NewPCG(seed, 0)), dir: os.Getenv("FIRN_TEST_CHAOS_DIR"), started: time.Now()}
	defer func() {
		if t.Failed() {
			c.violations = max(c.violations, 1) // it did not get to counting
		}
		c.logf("chaos: %.1f minutes, %d faults, %d operations, %d violations (seed %d)",
			time.Since(c.started).Minutes(), c.faults, c.operations, c.violations, seed)
	}()
	c.logf("seed %d (FIRN_SEED)", seed)
	c.start()
	if minutes == 0 {
		for round, relaxed := range []bool{true, false} {
			c.beginWork(strconv.Itoa(round), relaxed)
			for _, f := range faults {
				if relaxed != (f.when == durable) && c.may(f) {
					c.begin(f, time.Second)
					c.endNext()
				}
			}
			c.judge()
		}
		return
	}
	end := time.Now().Add(time.Duration(minutes) * time.Minute)
	for round := 1; time.Now().Before(end) && c.violations == 0; round++ {
		c.beginWork(strconv.Itoa(round), c.rng.IntN(2) == 0)
		c.rage(min(chaosRound, time.Until(end)))
		c.judge()
	}
}

func (c *chaos) logf(format string, args ...any) {
	c.t.Helper()
	since := time.Since(c.started).Round(time.Millisecond)
	c.t.Logf("%9.3fs %s", since.Seconds(), fmt.Sprintf(format, args...))
}

func (c *chaos) violate(format string, args ...any) {
	c.t.Helper()
	c.violations++
	c.t.Errorf(format, args...)
}

// start brings the world and all that runs in it up.
func (c *chaos) start() {
	c.t.Cleanup(http.DefaultClient.CloseIdleConnections) // to brokers that died behind a cut nobody ends them
	c.w = newWorld(c.t)
	var places []toolbox.Place
	for i := range 3 {
		m := &machine{host: c.w.add("etcd-" + strconv.Itoa(i+1))}
		c.etcds = append(c.etcds, m)
		places = append(places, m.place())
	}
	var endpoints string
	for i, e := range kvtest.StartMembers(c.t, places) {
		c.etcds[i].etcd = e
		endpoints += "," + e.Endpoint()
	}
	c.bucketHost = c.w.add("bucket")
	c.bucket = objtest.StartMinIOAt(c.t, c.bucketHost.place())
	var running []*brokertest.Process
	for i := range 3 {
		id := strconv.Itoa(i + 1)
		m := &machine{host: c.w.add("broker-" + id), disk: newDisk(c.t, []string{"xfs", "ext4"}[i%2], diskSize)}
		place := m.place()
		o := brokertest.Options{
			Dir: filepath.Join(m.disk.dir, "firn"), Host: place.Host, Via: place.Via,
			Env: []string{"MINIO_ACCESS_KEY=" + c.bucket.AccessKey, "MINIO_SECRET_KEY=" + c.bucket.SecretKey},
		}
		if c.dir != "" {
			o.Log = filepath.Join(c.dir, m.name+".log")
		}
		for _, s := range []string{
			"node.id=" + id, "tier.url=minio://" + c.bucket.Host + "/" + c.bucket.Bucket + "/x?tls=false", "tier.cache.bytes=64MiB",
			"broker.session.timeout.ms=3000", "replica.lag.time.max.ms=3000", "log.retention.check.interval.ms=200",
			"disk.free.low=9%,192MiB", "disk.free.very.low=6%,128MiB", "disk.free.full=3%,64MiB",
		} {
			o.Args = append(o.Args, "--set", s)
		}
		m.broker = brokertest.StartBroker(c.t, endpoints[1:], o)
		c.brokers = append(c.brokers, m)
		running = append(running, m.broker)
	}
	c.t.Cleanup(c.calm) // or what is frozen would not stop
	c.cluster = clustertest.Of(c.t, running, patient()...)
}

// patient has clients notice in a second or two that nobody answers.
func patient() []kgo.Opt {
	return []kgo.Opt{kgo.DialTimeout(2 * time.Second), kgo.RequestTimeoutOverhead(2 * time.Second), kgo.ProduceRequestTimeout(5 * time.Second)}
}

// beginWork makes topics, relaxed ones among them or not, and lets clients work.
func (c *chaos) beginWork(round string, relaxed bool) {
	for _, kind := range []struct{ name, flush, tiered string }{{"durable", "1", "true"}, {"relaxed", "100000", "true"}, {"local", "1", "false"}} {
		if kind.name == "relaxed" && !relaxed {
			continue
		}
		name := kind.name + "-" + round
		c.cluster.Create(name, 4, map[string]string{
			"min.insync.replicas": "2", "flush.messages": kind.flush, "flush.ms": "1000", "segment.bytes": "262144",
			"remote.storage.enable": kind.tiered, "local.retention.ms": "500", "tier.max.lag.ms": "1000", "tier.min.bytes": "1",
		})
		o := drive.Options{
			Bootstrap: c.cluster.Bootstrap(), Topic: name, Partitions: 4, Group: name, Seed: c.rng.Uint64(), Client: patient(),
			Producers: 2, RecordBytes: 3000, Gap: 10 * time.Millisecond, Readers: 1, Members: 2, Lifetime: 20 * time.Second,
		}
		w := &work{topic: name, tiered: kind.tiered == "true", relaxed: kind.flush != "1"}
		if c.dir != "" {
			f, err := os.Create(filepath.Join(c.dir, name+".history"))
			if err != nil {
				c.t.Fatal(err)
			}
			o.Lines, w.lines = f, f
		}
		w.d = drive.Start(o)
		c.t.Cleanup(func() { _, _ = w.d.Close() })
		c.work = append(c.work, w)
	}
	brokertest.Eventually(c.t, "clients are at work", func() (bool, error) {
		for _, w := range c.work {
			if w.d.Acked() == 0 || w.d.Polled() == 0 {
				return false, fmt.Errorf("%s: %d acknowledged, %d read by the group", w.topic, w.d.Acked(), w.d.Polled())
			}
		}
		return true, nil
	})
}

// rage lets faults happen for a while, up to maxActive of them at a time.
func (c *chaos) rage(long time.Duration) {
	for end := time.Now().Add(long); time.Now().Before(end); {
		switch {
		case len(c.active) == 0 && c.rng.IntN(2) == 0:
			c.settle()
		case len(c.active) == 0:
			c.live(3 * time.Second)
		case len(c.active) == maxActive || c.rng.IntN(2) == 0:
			c.endNext()
			continue
		}
		f := faults[c.rng.IntN(len(faults))]
		if c.may(f) {
			c.begin(f, c.howLong())
		}
	}
	c.calm()
}

// may reports whether a fault may begin now, and waits for calm where that is needed.
func (c *chaos) may(f fault) bool {
	c.t.Helper()
	relaxed := slices.ContainsFunc(c.work, func(w *work) bool { return w.relaxed })
	switch {
	case f.when == durable:
		return !relaxed
	case f.when == always, f.when == calmIfRelaxed && !relaxed:
		return true
	case len(c.active) > 0:
		return false
	}
	c.settle()
	return true
}

// howLong is from half a second to thirty, and short as a rule.
func (c *chaos) howLong() time.Duration {
	x := c.rng.Float64()
	return 500*time.Millisecond + time.Duration(x*x*x*float64(29500*time.Millisecond))
}

// begin lets a fault happen and does not wait for its end.
func (c *chaos) begin(f fault, long time.Duration) {
	whom, end := f.begin(c)
	if end == nil {
		return
	}
	c.faults++
	what := fmt.Sprintf("%s (%s)", f.name, whom)
	c.logf("begins: %s, for %v; acknowledged: %v", what, long.Round(time.Millisecond), c.acked())
	now := time.Now()
	for i := range c.active {
		c.active[i].alone = false
	}
	c.active = append(c.active, active{what, now, now.Add(long), len(c.active) == 0 && !f.stops, end})
}

// acked is how many records of each topic have been acknowledged.
func (c *chaos) acked() (list []int64) {
	for _, w := range c.work {
		list = append(list, w.d.Acked())
	}
	return list
}

// endNext waits for the end of the fault that ends first.
func (c *chaos) endNext() {
	if len(c.active) == 0 {
		return
	}
	slices.SortFunc(c.active, func(a, b active) int { return a.until.Compare(b.until) })
	next := c.active[0]
	c.active = c.active[1:]
	<-time.After(time.Until(next.began.Add(min(aloneFor, next.until.Sub(next.began)))))
	before, since := c.acked(), time.Now()
	<-time.After(time.Until(next.until))
	if alone := time.Since(since); next.alone && alone > aloneFor/3 {
		for i, n := range c.acked() {
			if n == before[i] {
				c.violate("nothing was acknowledged in %s for %v, %v after this began: %s", c.work[i].topic, alone, since.Sub(next.began), next.what)
			}
		}
	}
	next.end()
	c.logf("ended:  %s", next.what)
}

// calm ends all faults at once.
func (c *chaos) calm() {
	for _, a := range c.active {
		a.end()
		c.logf("ended:  %s", a.what)
	}
	c.active = nil
}

func (c *chaos) live(atMost time.Duration) {
	<-time.After(time.Duration(c.rng.Int64N(int64(atMost))))
}

// settle waits until every replica is in sync, with no fault left.
func (c *chaos) settle() {
	c.t.Helper()
	began := time.Now()
	c.calm()
	for _, m := range c.etcds {
		kvtest.AwaitHealthy(c.t, m.etcd)
	}
	for _, m := range c.brokers {
		if m.broker.Ended() {
			c.violate("%s has ended by itself:\n%s", m.name, m.broker.Log())
			m.launch()
		}
		m.await()
	}
	c.awaitInSync()
	c.logf("all replicas in sync after %v", time.Since(began).Round(time.Millisecond))
}

func (c *chaos) awaitInSync() {
	c.t.Helper()
	for _, w := range c.work {
		c.cluster.AwaitInSync(w.topic, len(c.brokers))
	}
}

// judge ends the work, reads everything, from the disks' end and from the tier, and holds all that clients saw against what
// is promised.
func (c *chaos) judge() {
	c.t.Helper()
	c.settle()
	for _, w := range c.work {
		w.stop(c)
	}
	c.settle()
	for _, w := range c.work {
		w.readAll(c, "hot")
		c.cluster.CheckReplicas(w.topic)
	}
	for i := range c.brokers {
		c.readCopies(i)
	}
	for _, w := range c.work {
		if w.tiered {
			c.awaitCold(w.topic)
			w.readAll(c, "cold")
			w.observeTier(c)
		}
	}
	for _, w := range c.work {
		c.conclude(w)
	}
	c.work = nil
}

// readCopies reads what one broker has of everything, while it alone is there.
func (c *chaos) readCopies(i int) {
	c.t.Helper()
	for j, m := range c.brokers {
		if j != i {
			m.broker.Stop()
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	for _, w := range c.work {
		if err := w.d.ReadCopy(ctx, int32(i+1)); err != nil {
			c.violate("%v", err)
		}
	}
	for j, m := range c.brokers {
		if j != i {
			m.launch()
		}
	}
	c.settle()
}

// stop waits until all that producers have sent is acknowledged.
func (w *work) stop(c *chaos) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*testTimeout)
	defer cancel()
	if err := w.d.Stop(ctx); err != nil {
		c.violate("%s: %v", w.topic, err)
	}
}

func (w *work) readAll(c *chaos, via string) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*testTimeout)
	defer cancel()
	n, err := w.d.ReadAll(ctx, via)
	if err != nil {
		c.violate("%s, %s: %v", w.topic, via, err)
	}
	c.logf("%s: %d records read %s, %d acknowledged", w.topic, n, via, w.d.Acked())
}

// awaitCold waits until all of a topic is in the tier, and some of each partition there alone.
func (c *chaos) awaitCold(topic string) {
	c.t.Helper()
	var all, cold int64
	brokertest.Eventually(c.t, topic+" is archived", func() (bool, error) {
		all, cold = 0, 0
		for _, m := range c.brokers {
			tiers, err := m.broker.Tiers(topic)
			if err != nil {
				return false, err
			}
			for _, tr := range tiers {
				if tr.TieredEnd < tr.HighWatermark || tr.LocalStart == 0 {
					return false, fmt.Errorf("%s, partition %d: %+v", m.name, tr.Partition, tr)
				}
				all, cold = all+tr.End, cold+tr.LocalStart
			}
		}
		return true, nil
	})
	c.logf("%s: %.1f %% of it is in the tier alone", topic, 100*float64(cold)/float64(max(all, 1)))
}

// observeTier notes in the history what the manifests name.
func (w *work) observeTier(c *chaos) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	tier, err := c.tier()
	if err != nil {
		c.t.Fatal(err)
	}
	defer tier.close()
	n := w.d.Recorder().Invoke(history.Op{Process: w.d.Process(), Func: history.Tier})
	seen, err := tier.observe(ctx, kafkaClient(c.t, c.brokers[0].broker), w.topic)
	if err != nil {
		c.violate("%s: read manifests: %v", w.topic, err)
		return
	}
	w.d.Recorder().Complete(n, seen)
}

func (c *chaos) tier() (*tierReader, error) {
	var endpoints []string
	for _, m := range c.etcds {
		endpoints = append(endpoints, m.etcd.Endpoint())
	}
	kv, err := etcd.Dial(etcd.Config{Endpoints: endpoints})
	if err != nil {
		return nil, err
	}
	store := c.bucket.Client(c.t)
	object := func(ctx context.Context, key string) ([]byte, error) {
		r, _, _, err := store.GetObject(ctx, c.bucket.Bucket, "x/"+key, minio.GetObjectOptions{})
		if err != nil {
			return nil, err
		}
		defer func() { _ = r.Close() }()
		return io.ReadAll(r)
	}
	return &tierReader{kv: kv, object: object, close: func() { _ = kv.Close() }}, nil
}

// conclude judges a topic's history and forgets the topic.
func (c *chaos) conclude(w *work) {
	c.t.Helper()
	h, err := w.d.Close()
	if w.lines != nil {
		err = errors.Join(err, w.lines.Close())
	}
	if err != nil {
		c.t.Fatal(err)
	}
	report := history.Check(h)
	c.operations += len(h.Ops)
	c.logf("%s: %s", w.topic, report.Summary())
	if n := report.Faults(); n > 0 {
		c.violate("%s: %v", w.topic, report)
		c.violations += n - 1
	}
	if report.Stats.Events[history.Rebalance][history.OK] == 0 || report.Stats.Events[history.Commit][history.OK] == 0 {
		c.violate("the group of %s came to nothing: %v", w.topic, report)
	}
	if _, err := c.cluster.Admin.DeleteTopics(context.Background(), w.topic); err != nil {
		c.violate("delete %s: %v", w.topic, err)
	}
}
