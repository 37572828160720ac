package drive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/brokertest/history"
)

// franz is franz-go.
type franz struct {
	o    *Options
	turn *atomic.Int32 // of racks
}

var _ Library = franz{}

// client makes a client that does not give up by itself. It crashes when ctx ends.
func (f franz) client(ctx context.Context, opts ...kgo.Opt) (*kgo.Client, error) {
	base := []kgo.Opt{
		kgo.SeedBrokers(f.o.Bootstrap...), kgo.WithContext(ctx), kgo.AlwaysRetryEOF(),
		kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond }), kgo.MetadataMinAge(50 * time.Millisecond),
	}
	cl, err := kgo.NewClient(append(append(base, f.o.Client...), opts...)...)
	if err != nil {
		return nil, fmt.Errorf("make a client: %w", err)
	}
	return cl, nil
}

// recheck is how soon a consumer asks the leader again whom it should read from: it would keep to a broker that has died
// for as long.
const recheck = time.Second

// consumer makes a client that says where it stands.
func (f franz) consumer(ctx context.Context, opts ...kgo.Opt) (*kgo.Client, error) {
	if n := len(f.o.Racks); n > 0 {
		opts = append(opts, kgo.Rack(f.o.Racks[int(f.turn.Add(1))%n]), kgo.RecheckPreferredReplicaInterval(recheck))
	}
	return f.client(ctx, opts...)
}

// Producer implements Library.
func (f franz) Producer(ctx context.Context) (Producer, error) {
	cl, err := f.client(ctx, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0), kgo.MaxBufferedRecords(2*maxInFlight),
		kgo.StopProducerOnDataLossDetected(), kgo.ProducerBatchMaxBytes(64<<10))
	return &franzProducer{ctx: ctx, cl: cl, topic: f.o.Topic}, err
}

type franzProducer struct {
	ctx   context.Context
	cl    *kgo.Client
	topic string
}

func (p *franzProducer) Send(partition int32, m Message, done func(int64, error)) {
	r := &kgo.Record{Topic: p.topic, Partition: partition, Key: m.Key, Value: m.Value, Timestamp: time.UnixMilli(m.Time)}
	for _, h := range m.Headers {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	p.cl.Produce(context.Background(), r, func(r *kgo.Record, err error) { done(r.Offset, err) })
}

// franzMessage is what a record that was read says.
func franzMessage(r *kgo.Record) Message {
	m := Message{Key: r.Key, Value: r.Value, Time: r.Timestamp.UnixMilli()}
	for _, h := range r.Headers {
		m.Headers = append(m.Headers, Header{h.Key, h.Value})
	}
	return m
}

func (p *franzProducer) Close() {
	_ = p.cl.Flush(p.ctx) // no error but that of a crash
	p.cl.Close()
}

// Consumer implements Library.
func (f franz) Consumer(ctx context.Context, from []int64) (Consumer, error) {
	at := map[int32]kgo.Offset{}
	for p, o := range from {
		at[int32(p)] = kgo.NewOffset().At(o)
	}
	cl, err := f.consumer(ctx, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{f.o.Topic: at}), kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(pollWait))
	return franzConsumer{cl}, err
}

type franzConsumer struct{ cl *kgo.Client }

func (c franzConsumer) Close() { c.cl.Close() }

func (c franzConsumer) Poll(ctx context.Context, max int) (rs []Record, err error) {
	fs := c.cl.PollRecords(ctx, max)
	for _, e := range fs.Errors() {
		if !errors.Is(e.Err, context.DeadlineExceeded) && !errors.Is(e.Err, context.Canceled) {
			err = fmt.Errorf("partition %d: %w", e.Partition, e.Err)
		}
	}
	rs = make([]Record, 0, fs.NumRecords())
	fs.EachRecord(func(r *kgo.Record) { rs = append(rs, Record{r.Partition, r.Offset, franzMessage(r)}) })
	return rs, err
}

// Member implements Library.
func (f franz) Member(ctx context.Context, rejoin func() (begin func(map[int32]int64))) (Member, error) {
	m := &franzMember{o: f.o, began: map[int32]string{}}
	var begin atomic.Pointer[func(map[int32]int64)] // for the client's next positions
	cl, err := f.consumer(ctx, kgo.ConsumerGroup(f.o.Group), kgo.ConsumeTopics(f.o.Topic), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
		kgo.SessionTimeout(f.o.Session), kgo.HeartbeatInterval(f.o.Session/10), kgo.RebalanceTimeout(2*f.o.Session),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(pollWait), kgo.WithHooks(&m.tries),
		kgo.OnPartitionsAssigned(func(_ context.Context, cl *kgo.Client, _ map[string][]int32) { // and then the client asks for what is committed
			id, _ := cl.GroupMetadata()
			m.id.Store(&id)
			next := rejoin()
			begin.Store(&next)
		}),
		kgo.AdjustFetchOffsetsFn(func(_ context.Context, at map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
			m.asked(at[f.o.Topic])
			if next := begin.Swap(nil); next != nil {
				(*next)(committedAt(at[f.o.Topic]))
			} else {
				rejoin()(committedAt(at[f.o.Topic])) // positions that it asked for again by itself
			}
			return at, nil
		}))
	m.franzConsumer = franzConsumer{cl}
	return m, err
}

// committedAt lets a member read from 0 where nothing is committed, and says where it begins.
func committedAt(at map[int32]kgo.Offset) map[int32]int64 {
	begin := map[int32]int64{}
	for p, o := range at {
		begin[p] = o.EpochOffset().Offset
		if begin[p] < 0 {
			begin[p], at[p] = history.Unknown, kgo.NewOffset().At(0)
		}
	}
	return begin
}

type franzMember struct {
	franzConsumer
	o     *Options
	tries attempts

	id    atomic.Pointer[string] // as which it was given partitions last
	mu    sync.Mutex
	began map[int32]string // by partition, the member id under which its position was asked for
}

// asked notes as which member positions are asked for.
func (m *franzMember) asked(at map[int32]kgo.Offset) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for p := range at {
		m.began[p] = *m.id.Load()
	}
}

// errStranger says that offsets were committed by a member other than the one that was given the partitions. One whom the
// group does not know any more when it joins becomes another member without a word and reads on from where it was, though
// others may have had its partitions meanwhile. No coordinator can tell.
var errStranger = errors.New("committed as another member")

// stranger reports whether a member, as which offsets were committed, was not given all of the partitions.
func (m *franzMember) stranger(id string, next map[int32]int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for p := range next {
		if m.began[p] != id {
			return true
		}
	}
	return false
}

func (m *franzMember) Release() { m.cl.AllowRebalance() }

func (m *franzMember) Commit(ctx context.Context, next map[int32]int64) (retried bool, end error) {
	what := map[int32]kgo.EpochOffset{}
	for p, o := range next {
		what[p] = kgo.EpochOffset{Epoch: -1, Offset: o}
	}
	before := m.tries.Load()
	m.cl.CommitOffsetsSync(ctx, map[string]map[int32]kgo.EpochOffset{m.o.Topic: what},
		func(_ *kgo.Client, req *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
			if end = committed(resp, err); end == nil && m.stranger(req.MemberID, next) {
				end = errStranger
			}
		})
	return again(m.tries.Load()-before, end), end
}

// offsetCommit is the key of the request.
const offsetCommit = 8

// attempts counts a client's tries to commit: those that it makes by itself after a first one without an answer may
// leave one behind on the wire.
type attempts struct{ atomic.Int64 }

// OnBrokerE2E implements kgo.HookBrokerE2E.
func (a *attempts) OnBrokerE2E(_ kgo.BrokerMetadata, key int16, _ kgo.BrokerE2E) {
	if key == offsetCommit {
		a.Add(1)
	}
}

// again says whether a request that was sent so often, and ended so, was tried before its last attempt: that has not
// always been sent.
func again(sent int64, end error) bool {
	var answer *kerr.Error
	return sent > 1 || sent == 1 && end != nil && !errors.As(end, &answer)
}

var errMixed = errors.New("some partitions committed and others not")

// committed is the one result of a commit of several partitions.
func committed(resp *kmsg.OffsetCommitResponse, err error) error {
	if err != nil || resp == nil {
		return err
	}
	codes := map[int16]bool{}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			codes[p.ErrorCode] = true
			err = kerr.ErrorForCode(p.ErrorCode)
		}
	}
	if len(codes) != 1 {
		return errMixed // whose outcome is unknown
	}
	return err
}

// maxName bounds the text of an error that has no name.
const maxName = 120

// Name implements Library.
func (franz) Name(err error) string {
	var broker *kerr.Error
	var loss *kgo.ErrDataLoss
	var network *net.OpError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &broker):
		return broker.Message
	case errors.Is(err, errStranger):
		return "another member"
	case errors.As(err, &loss):
		return "data loss"
	case errors.Is(err, kgo.ErrClientClosed), errors.Is(err, context.Canceled), errors.Is(err, net.ErrClosed):
		return "closed"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, kgo.ErrRecordTimeout):
		return "timeout"
	case errors.Is(err, kgo.ErrMaxBuffered):
		return "buffer full"
	case errors.As(err, &network) && network.Op == "dial":
		return "dial"
	case errors.As(err, &network), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "disconnect"
	}
	text := err.Error()
	return text[:min(len(text), maxName)]
}
