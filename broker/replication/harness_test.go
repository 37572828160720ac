package replication

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"firn/broker/partition"
	"firn/metadata/topic"
	"firn/segment"
	"firn/segment/batch"
	"firn/segment/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must happen, on a busy machine.
const patience = 2 * time.Minute

var testID = topic.ID{0xfd, 15: 1}

func tpOf(i int32) topic.Partition { return topic.Partition{ID: testID, Index: i} }

// newSet is a broker's replicas on disks in memory, which keeps fetches of followers for wait.
func newSet(t *testing.T, id int32, wait time.Duration, disks ...vfs.FS) *partition.Set {
	t.Helper()
	o := partition.Options{BrokerID: id, FollowerWait: wait}
	for _, fsys := range disks {
		d, err := segment.OpenDisk(segment.DiskOptions{FS: fsys, Dir: "/data", BrokerID: id})
		if err != nil {
			t.Fatal(err)
		}
		if err := d.SetBrokerEpoch(1); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = d.Close(false) })
		o.Disks = append(o.Disks, d)
	}
	set, err := partition.NewSet(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = set.Close() })
	return set
}

func open(t *testing.T, set *partition.Set, i int32) *partition.Replica {
	t.Helper()
	c, err := topic.ParseConfig(map[string]string{"min.insync.replicas": "2"}, topic.Defaults{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := set.Open(tpOf(i), "test", c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// led is the state in which brokers 1 and 2 are in sync.
func led(leader, epoch int32) partition.State {
	return partition.State{Leader: leader, LeaderEpoch: epoch, Rev: int64(epoch), Replicas: []int32{1, 2}, ISR: []int32{1, 2}}
}

// append writes a batch of n records with acks=all and returns a channel that gets its outcome.
func produce(t *testing.T, r *partition.Replica, n int) <-chan error {
	t.Helper()
	var w batch.Builder
	for range n {
		w.Add(time.Now().UnixMilli(), nil, []byte("value"))
	}
	b, err := w.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	p := &producing{done: make(chan error, 1)}
	p.Records, p.Acks, p.Done = b, partition.AcksAll, p
	r.Append(&p.Append)
	return p.done
}

type producing struct {
	partition.Append
	done chan error
}

func (p *producing) AppendDone(a *partition.Append) { p.done <- a.Err }

func await(t *testing.T, done <-chan error) {
	t.Helper()
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(patience):
		t.Fatal("no acknowledgement")
	}
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatal("never: " + what)
		}
		<-tick.C
	}
}

// leader answers fetches from a Set as package api does: sessions in which what was told is not told again, and a wait
// that ends when the next request comes.
type leader struct {
	t   *testing.T
	set *partition.Set

	mu      sync.Mutex
	conns   []net.Conn
	fetches int
	dials   int
	down    bool
	asked   []kmsg.FetchRequest
}

var errDown = errors.New("nobody listens")

func (l *leader) dial(context.Context, int32) (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dials++
	if l.down {
		return nil, errDown
	}
	near, far := net.Pipe()
	l.conns = append(l.conns, far)
	go l.serve(far)
	return near, nil
}

// cut breaks all connections; with down set no new ones are to be had.
func (l *leader) cut(down bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = down
	for _, c := range l.conns {
		_ = c.Close()
	}
	l.conns = nil
}

// part is what a session knows of a partition.
type part struct {
	asked kmsg.FetchRequestTopicPartition
	told  bool
}

func (l *leader) serve(conn net.Conn) {
	defer conn.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	parts, mu := map[topic.Partition]*part{}, &sync.Mutex{}
	replies := make(chan func() []byte, 8)
	var writing sync.WaitGroup
	writing.Go(func() {
		for reply := range replies {
			if _, err := conn.Write(reply()); err != nil {
				return
			}
		}
	})
	defer writing.Wait()
	defer close(replies)
	var who *partition.Follower
	var last *partition.Fetch
	var answered chan struct{}
	for {
		req, correlation, err := readRequest(conn)
		if err != nil {
			if last != nil {
				cancel()
				<-answered
			}
			return
		}
		l.mu.Lock()
		l.fetches++
		l.asked = append(l.asked, *req)
		l.mu.Unlock()
		if last != nil {
			last.Hurry()
			<-answered
		}
		mu.Lock()
		for i := range req.Topics {
			for _, p := range req.Topics[i].Partitions {
				parts[topic.Partition{ID: req.Topics[i].TopicID, Index: p.Partition}] = &part{asked: p}
			}
		}
		for _, f := range req.ForgottenTopics {
			for _, i := range f.Partitions {
				delete(parts, topic.Partition{ID: f.TopicID, Index: i})
			}
		}
		if who == nil {
			who = &partition.Follower{ID: req.ReplicaState.ID, BrokerEpoch: req.ReplicaState.Epoch}
		}
		f := &partition.Fetch{
			MinBytes: int(req.MinBytes), MaxBytes: int(req.MaxBytes), MaxWait: time.Duration(req.MaxWaitMillis) * time.Millisecond,
			Follower: who,
		}
		var keys []topic.Partition
		for tp, p := range parts {
			if p.told {
				continue
			}
			keys = append(keys, tp)
			f.Parts = append(f.Parts, partition.FetchPart{
				Replica: l.set.Get(tp), Offset: p.asked.FetchOffset, MaxBytes: int(p.asked.PartitionMaxBytes),
				LeaderEpoch: p.asked.CurrentLeaderEpoch, LastEpoch: p.asked.LastFetchedEpoch,
			})
		}
		mu.Unlock()
		done := make(chan struct{})
		f.Done = func(*partition.Fetch) { close(done) }
		l.set.Fetch(ctx, f)
		last, answered = f, done
		replies <- func() []byte {
			<-done
			mu.Lock()
			defer mu.Unlock()
			return encode(f, keys, parts, correlation)
		}
	}
}

func encode(f *partition.Fetch, keys []topic.Partition, parts map[topic.Partition]*part, correlation int32) []byte {
	resp := kmsg.NewPtrFetchResponse()
	resp.Version, resp.SessionID = fetchVersion, 7
	for i := range f.Parts {
		p := &f.Parts[i]
		rp := kmsg.NewFetchResponseTopicPartition()
		rp.Partition, rp.HighWatermark, rp.LogStartOffset = keys[i].Index, p.HighWatermark, p.LogStart
		rp.DivergingEpoch.Epoch, rp.DivergingEpoch.EndOffset = p.Diverging.Epoch, p.Diverging.End
		for _, e := range p.Extents {
			b := make([]byte, e.Len())
			_, _ = e.ReadAt(b, 0)
			rp.RecordBatches = append(rp.RecordBatches, b...)
			e.Release()
		}
		for is, code := range map[error]*kerr.Error{
			partition.ErrNotLeader: kerr.NotLeaderForPartition, partition.ErrUnknownEpoch: kerr.UnknownLeaderEpoch,
			partition.ErrFencedEpoch: kerr.FencedLeaderEpoch, partition.ErrOffsetOutOfRange: kerr.OffsetOutOfRange,
			partition.ErrOffsetTiered: kerr.OffsetMovedToTieredStorage,
		} {
			if errors.Is(p.Err, is) {
				rp.ErrorCode = code.Code
			}
		}
		if known := parts[keys[i]]; known != nil && known.asked.FetchOffset == p.Offset &&
			(rp.ErrorCode != 0 || p.Bytes > 0 || p.Diverging.Epoch >= 0) {
			known.told = true
		}
		rt := kmsg.NewFetchResponseTopic()
		rt.TopicID, rt.Partitions = keys[i].ID, append(rt.Partitions, rp)
		resp.Topics = append(resp.Topics, rt)
	}
	b := binary.BigEndian.AppendUint32(make([]byte, 4), uint32(correlation))
	b = resp.AppendTo(append(b, 0))
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

// readRequest reads a fetch behind a header of version 2.
func readRequest(r io.Reader) (*kmsg.FetchRequest, int32, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, 0, err
	}
	b := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, 0, err
	}
	correlation := int32(binary.BigEndian.Uint32(b[4:]))
	b = b[8:]
	b = b[2+int(binary.BigEndian.Uint16(b))+1:] // client id, no tags
	req := kmsg.NewPtrFetchRequest()
	req.Version = fetchVersion
	return req, correlation, req.ReadFrom(b)
}

// rig is broker 2, which follows broker 1.
type rig struct {
	t        *testing.T
	leader   *leader
	ahead    *partition.Set // broker 1's
	behind   *partition.Set // broker 2's
	fetchers *Fetchers
}

func newRig(t *testing.T, change ...func(*Options)) *rig {
	t.Helper()
	return newRigOn(t, []vfs.FS{vfs.NewMem()}, change...)
}

func newRigOn(t *testing.T, disks []vfs.FS, change ...func(*Options)) *rig {
	t.Helper()
	g := &rig{t: t, leader: &leader{t: t}}
	o := Options{
		BrokerID: 2, BrokerEpoch: func() int64 { return 22 }, Dial: g.leader.dial, Fetchers: 2, Backoff: 50 * time.Millisecond,
		MaxWait: time.Hour, Logger: slog.New(slog.DiscardHandler),
	}
	for _, c := range change {
		c(&o)
	}
	g.ahead, g.behind = newSet(t, 1, o.MaxWait, vfs.NewMem()), newSet(t, 2, o.MaxWait, disks...)
	g.leader.set = g.ahead
	var err error
	if g.fetchers, err = New(o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = g.fetchers.Close()
		g.leader.cut(true)
	})
	return g
}

// follow has broker 1 lead partition i and broker 2 follow it, at an epoch.
func (g *rig) follow(i, epoch int32) (ahead, behind *partition.Replica) {
	g.t.Helper()
	ahead, behind = open(g.t, g.ahead, i), open(g.t, g.behind, i)
	if err := ahead.BecomeLeader(led(1, epoch)); err != nil {
		g.t.Fatal(err)
	}
	if err := behind.BecomeFollower(led(1, epoch)); err != nil {
		g.t.Fatal(err)
	}
	g.fetchers.Follow(behind)
	return ahead, behind
}
