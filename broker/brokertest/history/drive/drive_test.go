package drive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"firn/broker/brokertest/history"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 2 * time.Minute

// rig is a driver at work at a cluster in this process, which can be made to lie.
type rig struct {
	*Driver
	t       *testing.T
	cluster *kfake.Cluster
	lines   lines
}

// lines is a history while it is written.
type lines struct {
	mu sync.Mutex
	bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.Write(p)
}

func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Count(l.Bytes(), []byte(text))
}

func newRig(t *testing.T, change func(*Options)) *rig {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(3), kfake.SeedTopics(3, "work"), kfake.SleepOutOfOrder(),
		kfake.GroupMinSessionTimeout(100*time.Millisecond), kfake.BrokerConfigs(map[string]string{"group.initial.rebalance.delay.ms": "0"}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	seed := uint64(time.Now().UnixNano())
	if v := os.Getenv("FIRN_SEED"); v != "" {
		if seed, err = strconv.ParseUint(v, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("seed %d (FIRN_SEED)", seed)
	r := &rig{t: t, cluster: cluster}
	o := Options{
		Bootstrap: cluster.ListenAddrs(), Topic: "work", Partitions: 3, Group: "g", Gap: time.Millisecond,
		Producers: 2, Readers: 1, Members: 2, Lifetime: 0, Seed: seed, Lines: &r.lines,
	}
	if change != nil {
		change(&o)
	}
	r.Driver = Start(o)
	t.Cleanup(func() { _, _ = r.Close() })
	return r
}

// until waits for what the clients have come to.
func (r *rig) until(what string, is func() bool) {
	r.t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-limit.C:
			r.t.Fatalf("not within %v: %s; %d acknowledged, %d polled", patience, what, r.Acked(), r.Polled())
		case <-tick.C:
		}
	}
}

// work lets so many more records be acknowledged, and polled if members can.
func (r *rig) work(n int64) {
	r.t.Helper()
	acked, polled := r.Acked(), r.Polled()
	r.until(fmt.Sprintf("%d more records", n), func() bool { return r.Acked() >= acked+n && r.Polled() >= polled+n/2 })
}

// judge ends the work and judges it. What cannot be read is no error here.
func (r *rig) judge(limit time.Duration) *history.Report {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := r.Stop(ctx); err != nil {
		r.t.Fatal(err)
	}
	for _, via := range []string{"hot", "cold"} {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		if _, err := r.ReadAll(ctx, via); err != nil {
			r.t.Log(err)
		}
		cancel()
	}
	h, err := r.Close()
	if err != nil {
		r.t.Fatal(err)
	}
	report := history.Check(h)
	back, err := history.Read(&r.lines)
	if err != nil || history.Check(back).Summary() != report.Summary() {
		r.t.Errorf("by its lines the history is something else: %v", err)
	}
	r.t.Log(report.Summary())
	return report
}

// Clients that crash and begin anew, and connections that break, leave a history in which nothing is wrong and in which
// everything happened that can.
func TestDriveCorrectCluster(t *testing.T) {
	var requests atomic.Int64
	r := newRig(t, func(o *Options) { o.Lifetime, o.Session = time.Second, time.Second })
	r.cluster.Control(func(kmsg.Request) (kmsg.Response, error, bool) {
		r.cluster.KeepControl()
		cut := requests.Add(1)%61 == 0
		return nil, errors.New("cut off"), cut
	})
	r.until("clients crash and begin anew", func() bool {
		return r.process.Load() > 18 && r.Acked() > 1000 && r.Polled() > 100
	})
	report := r.judge(patience)
	if !report.Valid {
		t.Error(report)
	}
	for _, f := range []history.Func{history.Send, history.Poll, history.Assign, history.Rebalance, history.Commit, history.Committed} {
		if report.Stats.Events[f][history.OK] == 0 {
			t.Errorf("no %s", f)
		}
	}
	if t.Failed() {
		t.Log(report)
	}
}

// A copy that has another record than everybody else read is found out, and one that is right is not.
func TestDriveCopies(t *testing.T) {
	for _, wrong := range []bool{false, true} {
		r := newRig(t, func(o *Options) { o.Members, o.Readers = 0, 0 })
		r.until("records", func() bool { return r.Acked() > 100 })
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		for p := range int32(3) {
			if err := r.cluster.MoveTopicPartition("work", p, 0); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.Stop(ctx); err != nil {
			t.Fatal(err)
		}
		const lacks = 20 // records at most: the answer begins with the batch that the 20th is in
		if wrong {
			first := true
			r.lie(kmsg.Fetch, func(req kmsg.Request) kmsg.Response {
				ask := req.(*kmsg.FetchRequest)
				if first && len(ask.Topics) == 1 {
					first, ask.Topics[0].Partitions[0].FetchOffset = false, lacks
				}
				return nil
			})
		}
		if err := r.ReadCopy(ctx, 0); err != nil {
			t.Fatal(err)
		}
		report := r.judge(patience)
		found := report.Found(history.ReplicaDivergence)
		if report.Stats.Events[history.Replica][history.OK] != 3 || wrong != (found > 0) || found > lacks || wrong == report.Valid {
			t.Errorf("wrong: %v, but %v", wrong, report)
		}
	}
}

// lie lets the cluster answer requests of a kind by itself, from now on, where answer does so.
func (r *rig) lie(key kmsg.Key, answer func(kmsg.Request) kmsg.Response) {
	var mu sync.Mutex
	r.cluster.ControlKey(key.Int16(), func(req kmsg.Request) (kmsg.Response, error, bool) {
		mu.Lock()
		defer mu.Unlock()
		r.cluster.KeepControl()
		resp := answer(req)
		return resp, nil, resp != nil
	})
}

func (r *rig) topic() (id [16]byte) { return r.cluster.TopicInfo("work").TopicID }

// A member whom the group has forgotten joins as another and goes on with what it had: what it then commits is no coordinator's
// fault, and it is the last that it does.
func TestDriveMemberThatBecomesAnother(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Members, o.Session = 1, 300*time.Millisecond })
	r.work(50)
	var forgotten atomic.Pointer[string]
	r.lie(kmsg.Heartbeat, func(req kmsg.Request) kmsg.Response {
		if !forgotten.CompareAndSwap(nil, &req.(*kmsg.HeartbeatRequest).MemberID) {
			return nil
		}
		resp := req.ResponseKind().(*kmsg.HeartbeatResponse)
		resp.ErrorCode = kerr.RebalanceInProgress.Code // so that it joins again
		return resp
	})
	r.lie(kmsg.JoinGroup, func(req kmsg.Request) kmsg.Response {
		if id := forgotten.Load(); id == nil || *id != req.(*kmsg.JoinGroupRequest).MemberID {
			return nil
		}
		resp := req.ResponseKind().(*kmsg.JoinGroupResponse)
		resp.ErrorCode = kerr.UnknownMemberID.Code
		return resp
	})
	r.until("a commit of another member", func() bool { return r.lines.count(`"err":"another member"`) > 0 })
	if report := r.judge(patience); !report.Valid {
		t.Error(report)
	}
}

// A cluster that acknowledges what it does not keep is found out.
func TestDriveDroppedRecords(t *testing.T) {
	r := newRig(t, nil)
	r.work(100)
	var dropped atomic.Int64
	r.lie(kmsg.Produce, func(req kmsg.Request) kmsg.Response {
		produce := req.(*kmsg.ProduceRequest)
		if dropped.Load() >= 3 || len(produce.Topics) != 1 || len(produce.Topics[0].Partitions) != 1 {
			return nil
		}
		p := produce.Topics[0].Partitions[0]
		dropped.Add(1)
		resp := produce.ResponseKind().(*kmsg.ProduceResponse)
		rt, rp := kmsg.NewProduceResponseTopic(), kmsg.NewProduceResponseTopicPartition()
		rt.Topic, rt.TopicID, rp.Partition = produce.Topics[0].Topic, produce.Topics[0].TopicID, p.Partition
		rp.BaseOffset = r.cluster.PartitionInfo("work", p.Partition).HighWatermark
		rt.Partitions = append(rt.Partitions, rp)
		resp.Topics = append(resp.Topics, rt)
		return resp
	})
	r.until("records are dropped", func() bool { return dropped.Load() > 0 })
	r.work(100)
	report := r.judge(patience)
	if report.Found(history.Unseen) == 0 || report.Found(history.LostWrite) == 0 && report.Found(history.InconsistentOffsets) == 0 {
		t.Error(report)
	}
}

// A record that is there twice is found out.
func TestDriveDuplicatedRecords(t *testing.T) {
	r := newRig(t, nil)
	r.work(100)
	copyRecord(t, r.cluster.ListenAddrs())
	r.work(100)
	if report := r.judge(patience); report.Found(history.Duplicate) != 1 {
		t.Error(report)
	}
}

// copyRecord sends again what lies at the beginning of a partition.
func copyRecord(t *testing.T, addrs []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(addrs...), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"work": {0: kgo.NewOffset().At(0)}}))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	fs := cl.PollRecords(ctx, 1)
	if err := fs.Err(); err != nil {
		t.Fatal(err)
	}
	first := fs.Records()[0]
	again := &kgo.Record{Topic: "work", Key: first.Key, Value: first.Value, Headers: first.Headers, Timestamp: first.Timestamp}
	if err := cl.ProduceSync(ctx, again).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// A coordinator that forgets what a group has committed is found out, also if nobody is told so but an observer.
func TestDriveForgottenCommits(t *testing.T) {
	for name, offset := range map[string]int64{"nothing": -1, "zero": 0} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			r.until("commits", func() bool { return r.lines.count(`"type":"ok","f":"commit",`) > 1 })
			r.lie(kmsg.OffsetFetch, func(req kmsg.Request) kmsg.Response {
				ask := req.(*kmsg.OffsetFetchRequest)
				resp := ask.ResponseKind().(*kmsg.OffsetFetchResponse)
				g := kmsg.NewOffsetFetchResponseGroup()
				g.Group = "g"
				rt := kmsg.NewOffsetFetchResponseGroupTopic()
				rt.Topic, rt.TopicID = "work", r.topic()
				for p := range int32(3) {
					rp := kmsg.NewOffsetFetchResponseGroupTopicPartition()
					rp.Partition, rp.Offset = p, offset
					rt.Partitions = append(rt.Partitions, rp)
				}
				g.Topics = append(g.Topics, rt)
				resp.Groups = append(resp.Groups, g)
				return resp
			})
			const look = `"type":"ok","f":"committed",`
			before := r.lines.count(look)
			r.until("a look that begins after the commits", func() bool { return r.lines.count(look) > before+1 })
			if report := r.judge(patience); report.Found(history.CommittedReset) == 0 {
				t.Error(report)
			}
		})
	}
}

// A broker that leaves a batch out of what it serves, as one does whose index is wrong, is found out.
func TestDriveSkippingConsumers(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Members = 0; o.Producers = 1 })
	r.until("records", func() bool { return r.Acked() > 200 })
	const lacks = 40 // records of each partition, which on a busy machine are many to a batch
	r.lie(kmsg.Fetch, func(req kmsg.Request) kmsg.Response {
		ask := req.(*kmsg.FetchRequest)
		for i := range ask.Topics {
			for j := range ask.Topics[i].Partitions {
				if p := &ask.Topics[i].Partitions[j]; p.FetchOffset < lacks {
					p.FetchOffset = lacks
				}
			}
		}
		return nil
	})
	report := r.judge(2 * time.Second)
	if report.Found(history.PollSkip) == 0 {
		t.Error(report)
	}
}

func TestErrorNames(t *testing.T) {
	for _, c := range []struct {
		err  error
		name string
	}{
		{nil, ""},
		{fmt.Errorf("commit: %w", kerr.IllegalGeneration), "ILLEGAL_GENERATION"},
		{&kgo.ErrDataLoss{}, "data loss"},
		{kgo.ErrClientClosed, "closed"},
		{context.Canceled, "closed"},
		{context.DeadlineExceeded, "timeout"},
		{kgo.ErrRecordTimeout, "timeout"},
		{kgo.ErrMaxBuffered, "buffer full"},
		{fmt.Errorf("%0200d", 1), fmt.Sprintf("%0120d", 0)},
	} {
		if got := (franz{}).Name(c.err); got != c.name {
			t.Errorf("%v: %q, want %q", c.err, got, c.name)
		}
	}
	if got := outcome(kerr.IllegalGeneration.Message, true).Outcome; got != history.Info {
		t.Errorf("a commit that was tried twice: %s", got)
	}
}

// A commit whose connection broke, and for which then no other could be had, may have happened.
func TestDialAfterALostAnswerIsNoFailure(t *testing.T) {
	dial := &net.OpError{Op: "dial", Err: errors.New("refused")}
	for _, c := range []struct {
		sent  int64
		end   error
		again bool
		want  history.Outcome
	}{
		{0, dial, false, history.Fail},
		{1, dial, true, history.Info},
		{1, kerr.IllegalGeneration, false, history.Fail},
		{2, kerr.IllegalGeneration, true, history.Info},
		{1, nil, false, history.OK},
		{2, nil, true, history.OK},
		{1, context.DeadlineExceeded, true, history.Info},
	} {
		if got := again(c.sent, c.end); got != c.again || outcome(franz{}.Name(c.end), got).Outcome != c.want {
			t.Errorf("sent %d times, %v: again %v, %s", c.sent, c.end, got, outcome(franz{}.Name(c.end), got).Outcome)
		}
	}
}
