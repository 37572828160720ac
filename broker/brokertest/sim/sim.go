// Package sim runs whole clusters in one process on a clock of their own: the real brokers and real clients, on disks, a
// network, a key space and a bucket in memory that go wrong as a seed says. What clients saw is judged by package history.
//
// What belongs here: the world around the brokers (net.go, gate.go, machine.go), what goes wrong in it (faults.go), and
// the course of one seed (sim.go). What does not: anything that a broker could see of the simulation but its broker.World.
//
// A seed decides the faults, not the order in which goroutines run: one that has failed is run again until it fails
// again.
package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"firn/broker/brokertest/history/drive"
	"firn/metadata"
	"firn/metadata/memkv"
	"firn/metadata/topic"
	"firn/segment/vfs"
	"firn/tiering/manifest"
	"firn/tiering/objstore/mem"
)

const (
	copies     = 3 // of each partition; there are as many brokers, or one more
	partitions = 2 // of each topic
	client     = "client"

	// patience bounds, in the cluster's time, how long it may take to be well again once nothing goes wrong any more.
	patience = 2 * time.Minute

	// localRetention is after how long the local copies of what was archived are surely gone, as topicConfig has it.
	localRetention = 4 * time.Second
)

// Result is what came of a seed.
type Result struct {
	Seed       uint64
	Faults     int
	Operations int
	Violations []string          // none if all is well
	Schedule   string            // what was done, and when
	Logs       []byte            // of all brokers
	Histories  map[string][]byte // of each topic, as lines
}

// sim is one seed.
type sim struct {
	seed          uint64
	rng           *rand.Rand // of the one goroutine that does things to the cluster
	began         time.Time
	net           *network
	kv            *memkv.Server
	bucket        *mem.Bucket
	machines      []*machine
	lives         int
	zombies       []*life                    // that were killed
	lost          map[string]map[int32]int64 // by topic, who has lost what it had of it, at which revision
	store         *metadata.Store
	cl            *kgo.Client
	adm           *kadm.Client
	drivers       []*drive.Driver // of the workloads
	started       []time.Duration // when they were
	workloads     []workload
	brokers       int
	churns, trims bool
	retunes       bool            // a topic's settings were changed
	unlike        []string        // settings of the topics as long as clients work
	side          sync.WaitGroup  // clients that are no driver's
	quiet         context.Context // ends with the disturbance
	calm          context.CancelFunc
	events        []event   // of the disturbance, still to come
	disturbed     time.Time // when it began
	faults        int
	ops           int

	logs      slog.Handler
	logBytes  *syncBuffer
	histories map[string]*syncBuffer

	mu         sync.Mutex
	schedule   strings.Builder
	violations []string
	inSync     map[topic.Partition]map[int32]time.Duration // who is in sync since when
	gone       map[topic.Partition][]*window               // what may be
}

// syncBuffer is bytes that many write to.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *sim) log(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(&s.schedule, "%9.3fs  ", time.Since(s.began).Seconds())
	fmt.Fprintf(&s.schedule, format, args...)
	s.schedule.WriteByte('\n')
}

// violation is something that must not be, whatever went wrong before.
func (s *sim) violation(format string, args ...any) {
	s.log("VIOLATION: "+format, args...)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.violations = append(s.violations, fmt.Sprintf(format, args...))
}

func newSim(seed uint64, level slog.Level) *sim {
	s := &sim{
		seed: seed, rng: rand.New(rand.NewPCG(seed, 0)), began: time.Now(), net: newNetwork(seed), kv: memkv.NewServer(), bucket: mem.New(),
		lost: map[string]map[int32]int64{}, logBytes: &syncBuffer{}, histories: map[string]*syncBuffer{},
		inSync: map[topic.Partition]map[int32]time.Duration{}, gone: map[topic.Partition][]*window{},
	}
	s.quiet, s.calm = context.WithCancel(context.Background())
	s.logs = slog.NewTextHandler(s.logBytes, &slog.HandlerOptions{Level: level})
	return s
}

// Run runs a seed. It must be called in a bubble of testing/synctest, and leaves no goroutine behind.
func Run(seed uint64, level slog.Level) Result {
	s := newSim(seed, level)
	if err := s.run(); err != nil {
		s.violation("%v", err)
	}
	s.end()
	histories := map[string][]byte{}
	for name, b := range s.histories {
		histories[name] = b.b.Bytes()
	}
	return Result{Seed: seed, Histories: histories, Faults: s.faults, Operations: s.ops, Violations: s.violations, Schedule: s.schedule.String(), Logs: s.logBytes.b.Bytes()}
}

// run is the course of a seed.
func (s *sim) run() error {
	s.choose()
	if err := s.build(); err != nil {
		return err
	}
	if err := s.begin(); err != nil {
		return err
	}
	s.disturb()
	s.calm()
	s.side.Wait()
	if err := s.heal(); err != nil {
		return err
	}
	return s.judge()
}

func (s *sim) build() error {
	s.net.addHost(client)
	for i := range s.brokers {
		id := int32(i + 1)
		m := &machine{s: s, id: id, host: fmt.Sprintf("b%d", id), fs: vfs.NewMem(), kvWeather: newWeather(s.seed + uint64(id)), bucketWeather: newWeather(s.seed + 100 + uint64(id))}
		for d := range 1 + s.rng.IntN(2) {
			m.dirs = append(m.dirs, fmt.Sprintf("/disk%d", d))
		}
		s.net.addHost(m.host)
		s.machines = append(s.machines, m)
		if err := m.start(); err != nil {
			return err
		}
		m.planned = true
	}
	for _, m := range s.machines {
		if err := m.awaitReady(); err != nil {
			return err
		}
	}
	var err error
	if s.store, err = metadata.Open(context.Background(), s.kv.Dial(), metadata.Options{Cluster: clusterName, ReadTierHead: readTierHead}); err != nil {
		return err
	}
	s.store.Subscribe(s.follow)
	return nil
}

func readTierHead(value []byte) (metadata.TierFields, error) {
	h, err := manifest.DecodeHead(value)
	return metadata.TierFields{LogStart: h.LogStart, TierEnd: h.TierEnd, Bytes: h.StoredBytes}, err
}

// awaitReady waits until a broker that was started serves.
func (m *machine) awaitReady() error {
	limit := time.NewTimer(patience)
	defer limit.Stop()
	select {
	case <-m.life.ready:
		return nil
	case <-m.life.done:
		return fmt.Errorf("broker %d does not start: %w", m.id, m.life.err)
	case <-limit.C:
		return fmt.Errorf("broker %d is not ready after %v", m.id, patience)
	}
}

// clientOpts are how clients reach the brokers.
func (s *sim) clientOpts() []kgo.Opt {
	return []kgo.Opt{
		kgo.Dialer(func(ctx context.Context, _, address string) (net.Conn, error) {
			return s.net.dial(ctx, client, address)
		}),
		kgo.ProducerBatchCompression(), // none
	}
}

func (s *sim) bootstrap() (all []string) {
	for _, m := range s.machines {
		all = append(all, m.host+":9092")
	}
	return all
}

// topic makes a topic, unless it is there.
func (s *sim) topic(ctx context.Context, name string, settings ...string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	resp, err := s.adm.CreateTopic(ctx, partitions, copies, topicConfig(settings...), name)
	if errors.Is(resp.Err, kerr.TopicAlreadyExists) {
		return nil
	}
	return errors.Join(err, resp.Err)
}

// begin makes the topics and lets clients work at them.
func (s *sim) begin() error {
	cl, err := kgo.NewClient(append(s.clientOpts(), kgo.SeedBrokers(s.bootstrap()...), kgo.MetadataMinAge(50*time.Millisecond))...)
	if err != nil {
		return err
	}
	s.cl, s.adm = cl, kadm.NewClient(cl)
	for _, w := range s.workloads {
		settings := s.settingsOf(w)
		if err := s.eventually("topic "+w.name+" is made", func() error { return s.topic(context.Background(), w.name, settings...) }); err != nil {
			return err
		}
	}
	if err := s.awaitInSync(); err != nil {
		return err
	}
	racks := []string{""}
	for _, m := range s.machines {
		racks = append(racks, m.rack())
	}
	for i, w := range s.workloads {
		s.started = append(s.started, time.Since(s.began))
		s.drivers = append(s.drivers, drive.Start(drive.Options{
			Bootstrap: s.bootstrap(), Topic: w.name, Partitions: partitions, Group: group(w.name),
			Producers: 2, Readers: 1, Members: 2 - i, Gap: 200 * time.Millisecond, RecordBytes: 600,
			Lifetime: 8 * time.Second, Session: 1500 * time.Millisecond, Seed: s.seed + uint64(i), Client: s.clientOpts(), Racks: racks, Lines: s.lines(w.name),
		}))
	}
	if s.churns {
		s.side.Go(s.churn)
	}
	if s.trims {
		s.side.Go(s.trim)
	}
	return nil
}

// group is that of a topic's consumers.
func group(topic string) string { return "g-" + topic }

// lines is where a history goes.
func (s *sim) lines(name string) io.Writer {
	b := &syncBuffer{}
	s.histories[name] = b
	return b
}

// eventually waits until check has no error any more.
func (s *sim) eventually(what string, check func() error) error {
	limit := time.Now().Add(patience)
	for {
		err := check()
		if err == nil {
			return nil
		}
		if time.Now().After(limit) {
			return fmt.Errorf("not within %v: %s: %w", patience, what, err)
		}
		s.supervise()
		pause(100 * time.Millisecond)
	}
}

// awaitInSync waits until every replica of every partition is in sync.
func (s *sim) awaitInSync() error { return s.eventually("all replicas are in sync", s.allInSync) }

// allInSync says which partition has replicas that are not in sync.
func (s *sim) allInSync() error {
	im := s.store.Image()
	n := 0
	for p := range im.Partitions() {
		if b, alive := im.Broker(p.Leader); !alive || b.Epoch != p.LeaderBrokerEpoch || len(p.ISR) < len(p.Replicas) {
			return fmt.Errorf("partition %v: leader %d, replicas %v, in sync %v, eligible %v", p.Partition, p.Leader, p.Replicas, p.ISR, p.ELR)
		}
		n++
	}
	if n < len(s.workloads)*partitions {
		return fmt.Errorf("%d partitions", n)
	}
	return nil
}

// supervise starts processes again that have ended by themselves, as they may if a disk has failed.
func (s *sim) supervise() {
	for _, m := range s.machines {
		l := m.life
		if l == nil || !m.planned {
			continue
		}
		select {
		case <-l.done:
			s.log("broker %d ended by itself: %v", m.id, l.err)
			if !m.hurt {
				s.violation("broker %d ended by itself: %v", m.id, l.err)
			}
			s.net.exit(m.host)
			if err := m.start(); err != nil {
				s.violation("broker %d: %v", m.id, err)
			}
		default:
		}
	}
	s.seeOff()
}

// end stops everything.
func (s *sim) end() {
	s.calm()
	s.side.Wait()
	for _, d := range s.drivers {
		_, _ = d.Close()
	}
	if s.adm != nil {
		s.adm.Close()
	}
	for _, m := range s.machines {
		m.planned = false
		if l := m.life; l != nil {
			l.stop()
		}
	}
	for _, m := range s.machines {
		if err := m.shutdown(); err != nil {
			s.violation("broker %d ends with %v", m.id, err)
		}
	}
	for _, l := range s.zombies {
		<-l.done
	}
	pause(time.Minute) // what was on its way to a controller when its broker ended gives up by itself
	if s.store != nil {
		_ = s.store.Close()
		_ = s.store.KV().Close()
	}
}
