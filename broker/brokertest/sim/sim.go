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
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"firn/broker/brokertest/history"
	"firn/broker/brokertest/history/drive"
	"firn/metadata"
	"firn/metadata/memkv"
	"firn/segment/vfs"
	"firn/tiering/manifest"
	"firn/tiering/objstore/mem"
)

const (
	brokers    = 3
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
	Violations []string // none if all is well
	Schedule   string   // what was done, and when
	Logs       []byte   // of all brokers
}

// sim is one seed.
type sim struct {
	seed     uint64
	rng      *rand.Rand // of the one goroutine that does things to the cluster
	began    time.Time
	net      *network
	kv       *memkv.Server
	bucket   *mem.Bucket
	machines []*machine
	lives    int
	zombies  []*life                    // that were killed
	lost     map[string]map[int32]int64 // by topic, who has lost what it had of it, at which revision
	store    *metadata.Store
	adm      *kadm.Client
	drivers  []*drive.Driver
	faults   int
	ops      int

	logs     slog.Handler
	logBytes *syncBuffer

	mu         sync.Mutex
	schedule   strings.Builder
	violations []string
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

// Run runs a seed. It must be called in a bubble of testing/synctest, and leaves no goroutine behind.
func Run(seed uint64, level slog.Level) Result {
	s := &sim{seed: seed, rng: rand.New(rand.NewPCG(seed, 0)), began: time.Now(), net: newNetwork(seed), kv: memkv.NewServer(), bucket: mem.New(), logBytes: &syncBuffer{}, lost: map[string]map[int32]int64{}}
	s.logs = slog.NewTextHandler(s.logBytes, &slog.HandlerOptions{Level: level})
	if err := s.run(); err != nil {
		s.violation("%v", err)
	}
	s.end()
	return Result{Seed: seed, Faults: s.faults, Operations: s.ops, Violations: s.violations, Schedule: s.schedule.String(), Logs: s.logBytes.b.Bytes()}
}

// run is the course of a seed.
func (s *sim) run() error {
	if err := s.build(); err != nil {
		return err
	}
	if err := s.begin(); err != nil {
		return err
	}
	s.disturb()
	if err := s.heal(); err != nil {
		return err
	}
	return s.judge()
}

func (s *sim) build() error {
	s.net.addHost(client)
	for i := range brokers {
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
	s.store, err = metadata.Open(context.Background(), s.kv.Dial(), metadata.Options{Cluster: clusterName, ReadTierHead: readTierHead})
	return err
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
		kgo.ProducerBatchCompression(kgo.NoCompression()),
	}
}

func (s *sim) bootstrap() (all []string) {
	for _, m := range s.machines {
		all = append(all, m.host+":9092")
	}
	return all
}

// topics of every seed, and what they add to topicConfig.
var topics = []struct {
	name     string
	settings []string
}{
	{"durable", nil},
	{"relaxed", []string{"flush.messages=1000000", "flush.ms=1000"}},
}

// begin makes the topics and lets clients work at them.
func (s *sim) begin() error {
	cl, err := kgo.NewClient(append(s.clientOpts(), kgo.SeedBrokers(s.bootstrap()...), kgo.MetadataMinAge(50*time.Millisecond))...)
	if err != nil {
		return err
	}
	s.adm = kadm.NewClient(cl)
	for _, t := range topics {
		err := s.eventually("topic "+t.name+" is made", func() error {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			resp, err := s.adm.CreateTopic(ctx, partitions, brokers, topicConfig(t.settings...), t.name)
			if errors.Is(resp.Err, kerr.TopicAlreadyExists) {
				return nil
			}
			return errors.Join(err, resp.Err)
		})
		if err != nil {
			return err
		}
	}
	if err := s.awaitInSync(); err != nil {
		return err
	}
	for i, t := range topics {
		s.drivers = append(s.drivers, drive.Start(drive.Options{
			Bootstrap: s.bootstrap(), Topic: t.name, Partitions: partitions, Group: "g-" + t.name,
			Producers: 2, Readers: 1, Members: 2 - i, Gap: 80 * time.Millisecond, RecordBytes: 600,
			Lifetime: 8 * time.Second, Session: 1500 * time.Millisecond, Seed: s.seed + uint64(i), Client: s.clientOpts(),
		}))
	}
	return nil
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
func (s *sim) awaitInSync() error {
	return s.eventually("all replicas are in sync", func() error {
		im := s.store.Image()
		n := 0
		for p := range im.Partitions() {
			if p.Leader < 0 || len(p.ISR) < len(p.Replicas) {
				return fmt.Errorf("partition %v: leader %d, replicas %v, in sync %v, eligible %v", p.Partition, p.Leader, p.Replicas, p.ISR, p.ELR)
			}
			n++
		}
		if n < len(topics)*partitions {
			return fmt.Errorf("%d partitions", n)
		}
		return nil
	})
}

// supervise starts processes again that have ended by themselves.
func (s *sim) supervise() {
	for _, m := range s.machines {
		l := m.life
		if l == nil || !m.planned {
			continue
		}
		select {
		case <-l.done:
			s.log("broker %d ended by itself: %v", m.id, l.err)
			s.net.exit(m.host)
			if err := m.start(); err != nil {
				s.violation("broker %d: %v", m.id, err)
			}
		default:
		}
	}
}

// judge ends the clients, reads everything twice, and holds what all saw against what the cluster promises.
func (s *sim) judge() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for i, d := range s.drivers {
		if err := d.Stop(ctx); err != nil {
			s.violation("%v", err)
		}
		if _, err := d.ReadAll(ctx, "hot"); err != nil {
			s.violation("read %s: %v", topics[i].name, err)
		}
	}
	pause(localRetention) // local copies go
	for i, d := range s.drivers {
		if err := s.observeTier(ctx, d, topics[i].name); err != nil {
			s.violation("%v", err)
		}
		if _, err := d.ReadAll(ctx, "cold"); err != nil {
			s.violation("read %s from the tier: %v", topics[i].name, err)
		}
		h, err := d.Close()
		if err != nil {
			s.violation("%v", err)
		}
		s.ops += len(h.Ops)
		report := history.Check(h)
		s.log("%s: %s", topics[i].name, report.Summary())
		if !report.Valid {
			s.violation("%s: %s", topics[i].name, report)
		}
	}
	s.drivers = nil
	return nil
}

// end stops everything.
func (s *sim) end() {
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
	if s.store != nil {
		_ = s.store.Close()
		_ = s.store.KV().Close()
	}
}
