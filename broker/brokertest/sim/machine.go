package sim

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"firn/broker"
	"firn/metadata"
	"firn/metadata/memkv"
	"firn/segment/vfs"
	"firn/segment/vfs/faultfs"
	"firn/tiering/objstore"
)

// machine is what a broker runs on: a host, its disks, and how it reaches the key space and the bucket.
type machine struct {
	s       *sim
	id      int32
	host    string
	dirs    []string
	fs      *vfs.Mem
	disks   faultfs.Injector // what is wrong with them
	failing int              // how many of their faults go on
	hurt    bool             // one went on in the life of this process
	boot    int              // how often it has been switched on

	kvWeather, bucketWeather *weather
	kvCalls                  atomic.Pointer[func(memkv.Call) memkv.Fault] // what becomes of its calls of the key space; the weather says if nil
	skew                     atomic.Int64                                 // of its wall clock, ns

	course atomic.Int32 // of its broker's leaving for good

	life    *life // nil while no process runs
	planned bool  // it is to be up; a process that ends by itself is started again
}

// life is one process of a broker.
type life struct {
	m          *machine
	n          int // of all lives
	kv, bucket *gate
	news       *gate // what its watches tell passes it, too
	stop       context.CancelFunc
	ready      <-chan struct{}
	done       chan struct{} // closed when it has ended
	err        error         // why, once done

	mu      sync.Mutex
	clients []*memkv.Client
	leases  []metadata.LeaseID
}

// isReady reports whether the process runs and has registered.
func (l *life) isReady() bool {
	if l == nil {
		return false
	}
	select {
	case <-l.ready:
		return true
	default:
		return false
	}
}

// each calls fn for every connection to the key space.
func (l *life) each(fn func(*memkv.Client)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.clients {
		fn(c)
	}
}

// lastLease is the newest that was granted, 0 if none was.
func (l *life) lastLease() metadata.LeaseID {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.leases) == 0 {
		return 0
	}
	return l.leases[len(l.leases)-1]
}

func (l *life) granted(id metadata.LeaseID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leases = append(l.leases, id)
}

// rack is where the broker stands, and some clients.
func (m *machine) rack() string { return fmt.Sprintf("r%d", m.id) }

// settings of every broker: short times, as a second costs what happens in it.
func (m *machine) settings() map[string]string {
	return map[string]string{
		"node.id": strconv.Itoa(int(m.id)), "broker.rack": m.rack(), "cluster.name": clusterName,
		"replica.selector.class": "org.apache.kafka.common.replica.RackAwareReplicaSelector",
		"listeners":              "PLAINTEXT://" + m.host + ":9092", "http.listen": "none", "log.dirs": strings.Join(m.dirs, ","),
		"etcd.endpoints": "kv:2379", "tier.url": "file:///sim", "auto.create.topics.enable": "false",
		"broker.session.timeout.ms": "3000", "replica.lag.time.max.ms": "2000", "replica.fetch.backoff.ms": "300",
		"replica.socket.timeout.ms": "2000", "num.replica.fetchers": "1",
		"log.retention.check.interval.ms": "300", "group.initial.rebalance.delay.ms": "0", "group.min.session.timeout.ms": "1000",
		"tier.cache.bytes": "1MiB", "tier.read.memory.bytes": "4MiB", "tier.retention.check.interval.ms": "1000", "tier.delete.grace.ms": "3000",
		"tier.publish.ms": "3000", "queued.max.request.bytes": "16MiB",
		"leader.imbalance.check.interval.seconds": "5",
		"disk.free.low": "10%,256KiB", "disk.free.very.low": "5%,128KiB", "disk.free.full": "2%,64KiB",
		"log.open.files.max": "1000", "log.mappings.max": "1000",
	}
}

const clusterName = "sim"

func (m *machine) config() (broker.Config, error) {
	c := broker.DefaultConfig()
	for k, v := range m.settings() {
		if err := c.Set(k, v, broker.Origin{}); err != nil {
			return c, err
		}
	}
	c.MemoryLimit = 0 // the runtime is everybody's
	return c, nil
}

// fails says that a fault of the disks begins, as part of which the process may end by itself. The func returned ends it.
func (m *machine) fails() func() {
	m.failing++
	m.hurt = true
	return func() { m.failing-- }
}

// start begins a process.
func (m *machine) start() error {
	cfg, err := m.config()
	if err != nil {
		return err
	}
	m.s.lives++
	l := &life{m: m, n: m.s.lives, kv: newGate(), bucket: newGate(), news: newGate(), done: make(chan struct{})}
	b, err := broker.New(cfg, broker.Options{
		Logger: slog.New(m.s.logs).With("broker", m.id, "life", l.n), Version: "sim", World: l.world(faultfs.Wrap(m.fs, &m.disks), m.boot),
	})
	if err != nil {
		return err
	}
	var running context.Context
	running, l.stop = context.WithCancel(context.Background())
	l.ready, m.life = b.Ready(), l
	m.hurt = m.failing > 0
	m.s.log("broker %d begins life %d", m.id, l.n)
	go func() {
		defer close(l.done)
		l.err = b.Run(running)
	}()
	return nil
}

// world is what the process lives in.
func (l *life) world(fs vfs.FS, boot int) broker.World {
	m := l.m
	return broker.World{
		FS: fs,
		DialMetadata: func() (metadata.KV, error) {
			c := m.s.kv.Dial()
			c.SetFaults(m.kvFault)
			l.mu.Lock()
			l.clients = append(l.clients, c)
			l.mu.Unlock()
			return kv{Client: c, life: l}, nil
		},
		OpenBucket: func(context.Context, string) (objstore.Bucket, error) {
			return bucket{Bucket: m.s.bucket, gate: l.bucket, weather: m.bucketWeather}, nil
		},
		Listen: func(_ context.Context, _, address string) (net.Listener, error) {
			if l.kv.isDead() {
				return nil, errDead
			}
			return m.s.net.listen(m.host, address)
		},
		Dial: func(ctx context.Context, _, address string) (net.Conn, error) {
			if l.kv.isDead() {
				return nil, errDead
			}
			c, err := m.s.net.dial(ctx, m.host, address)
			if err == nil && l.kv.isDead() {
				_ = c.Close()
				return nil, errDead
			}
			return c, err
		},
		BootID:   func() string { return fmt.Sprintf("%s-%d", m.host, boot) },
		Now:      func() time.Time { return time.Now().Add(time.Duration(m.skew.Load())) },
		BootTime: func() time.Duration { return time.Since(m.s.began) },
	}
}

// kvFault is what becomes of a call of the key space.
func (m *machine) kvFault(c memkv.Call) memkv.Fault {
	if f := m.kvCalls.Load(); f != nil {
		return (*f)(c)
	}
	return m.kvWeather.kvFault(c)
}

// gates are all ways out of the process but the network.
func (l *life) gates() []*gate { return []*gate{l.kv, l.bucket, l.news} }

// kill ends the process at once: from here on nothing of it gets out.
func (m *machine) kill() {
	l := m.life
	if l == nil {
		return
	}
	m.life = nil
	for _, g := range l.gates() {
		g.kill()
	}
	m.s.net.exit(m.host)
	l.stop()
	m.s.zombies = append(m.s.zombies, l)
}

// crash is kill -9: what the process has written is still there, and no more durable for that.
func (m *machine) crash() {
	m.kill()
	m.fs = m.fs.KillClone()
}

// losePower is a power cut: what was not synced may be gone.
func (m *machine) losePower(seed uint64, kept int) {
	m.s.net.cutPower(m.host)
	m.kill()
	m.fs = m.fs.CrashClone(seed, kept)
	m.boot++
}

// shutdown stops the process as an operator does, and waits for its end.
func (m *machine) shutdown() error {
	l := m.life
	m.life = nil
	if l == nil {
		return nil
	}
	l.stop()
	<-l.done
	m.s.net.exit(m.host)
	return l.err
}

// hasStopped says whether the process has ended, and vouches for what it had on its disks: one that was stopped while it started has
// not looked at all that the one before has left, and a disk may have failed.
func (m *machine) hasStopped() bool {
	if m.life == nil {
		return false
	}
	select {
	case <-m.life.done:
	default:
		return false
	}
	return !slices.ContainsFunc(m.dirs, func(dir string) bool {
		_, err := m.fs.Stat(path.Join(dir, "CLEAN"))
		return err != nil
	})
}

// replaceDisk puts an empty disk in the place of one of a machine that is down.
func (m *machine) replaceDisk(i int) error {
	if err := m.fs.RemoveAll(m.dirs[i]); err != nil {
		return err
	}
	return m.fs.MkdirAll(m.dirs[i])
}

// topicConfig is a topic's settings: small segments that soon live in the tier alone.
func topicConfig(over ...string) map[string]*string {
	c := map[string]*string{}
	all := append([]string{
		"min.insync.replicas=2", "segment.bytes=4096", "index.interval.bytes=512", "local.retention.ms=700", "tier.max.lag.ms=800", "tier.min.bytes=1",
		"retention.ms=-1",
	}, over...)
	for _, kv := range all {
		k, v, _ := strings.Cut(kv, "=")
		c[k] = &v
	}
	return c
}
