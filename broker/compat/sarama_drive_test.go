package compat

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"

	"firn/broker/brokertest/history"
	"firn/broker/brokertest/history/drive"
)

// saramaLibrary is sarama as package drive has it at work.
type saramaLibrary struct {
	bootstrap    []string
	topic, group string
	session      time.Duration
}

var _ drive.Library = saramaLibrary{}

const (
	saramaPause  = 50 * time.Millisecond // between attempts
	saramaAnswer = 3 * time.Second       // after which a broker is taken for frozen
	saramaQueue  = 500                   // records, as many as the driver has under way at most
)

func (l saramaLibrary) config() *sarama.Config {
	cfg := sarama.NewConfig()
	cfg.Version = sarama.MaxVersion
	cfg.Net.DialTimeout, cfg.Net.ReadTimeout, cfg.Net.WriteTimeout = saramaAnswer, saramaAnswer, saramaAnswer
	cfg.Metadata.Retry.Max, cfg.Metadata.Retry.Backoff = 200, saramaPause
	cfg.Producer.RequiredAcks, cfg.Producer.Idempotent, cfg.Net.MaxOpenRequests = sarama.WaitForAll, true, 1
	cfg.Producer.Return.Successes = true
	cfg.Producer.Partitioner = sarama.NewManualPartitioner
	cfg.Producer.Retry.Max, cfg.Producer.Retry.Backoff = 2000, saramaPause
	cfg.Consumer.Return.Errors = true
	cfg.Consumer.MaxWaitTime = 500 * time.Millisecond
	cfg.Consumer.Retry.Backoff = saramaPause
	cfg.Consumer.IsolationLevel = sarama.ReadCommitted
	cfg.Consumer.Offsets.Initial, cfg.Consumer.Offsets.AutoCommit.Enable = sarama.OffsetOldest, false
	cfg.Consumer.Group.ResetInvalidOffsets = false
	cfg.Consumer.Group.Session.Timeout, cfg.Consumer.Group.Heartbeat.Interval = l.session, l.session/10
	cfg.Consumer.Group.Rebalance.Timeout, cfg.Consumer.Group.Rebalance.Retry.Backoff = 2*l.session, saramaPause
	return cfg
}

// connect makes a client, or returns nil if ctx ends before a broker answers. Sarama does not do without one at first.
func (l saramaLibrary) connect(ctx context.Context) sarama.Client {
	var cl sarama.Client
	persist(ctx, func() (err error) {
		cl, err = sarama.NewClient(l.bootstrap, l.config())
		return err
	})
	if cl == nil {
		return nil
	}
	cl = &saramaClosedOnce{Client: cl}
	context.AfterFunc(ctx, func() { _ = cl.Close() }) // which is its crash: what it waits for never comes
	return cl
}

// saramaClosedOnce is a client that several may close at a time, which sarama's own panics at.
type saramaClosedOnce struct {
	sarama.Client
	once sync.Once
}

// Close implements sarama.Client.
func (c *saramaClosedOnce) Close() (err error) {
	c.once.Do(func() { err = c.Client.Close() })
	return err
}

// persist does something until it succeeds or ctx ends, and says which.
func persist(ctx context.Context, do func() error) bool {
	for ctx.Err() == nil {
		if do() == nil {
			return true
		}
		select {
		case <-time.After(saramaPause):
		case <-ctx.Done():
		}
	}
	return false
}

// Name implements drive.Library.
func (saramaLibrary) Name(err error) string {
	var broker sarama.KError
	var network *net.OpError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &broker) && broker != sarama.ErrNoError:
		return kerr.TypedErrorForCode(int16(broker)).Message
	case errors.Is(err, sarama.ErrClosedClient), errors.Is(err, sarama.ErrShuttingDown), errors.Is(err, net.ErrClosed), errors.Is(err, context.Canceled):
		return "closed"
	case errors.As(err, &network) && network.Timeout():
		return "timeout"
	case errors.As(err, &network), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "disconnect"
	}
	return err.Error()
}

// Producer implements drive.Library. Its records wait until sarama has found a broker and has a producer id.
func (l saramaLibrary) Producer(ctx context.Context) (drive.Producer, error) {
	p := &saramaDriven{topic: l.topic, in: make(chan *sarama.ProducerMessage, saramaQueue), ended: make(chan struct{})}
	go p.run(ctx, l)
	return p, nil
}

type saramaDriven struct {
	topic string
	in    chan *sarama.ProducerMessage
	ended chan struct{}
}

// Send implements drive.Producer.
func (p *saramaDriven) Send(partition int32, m drive.Message, done func(int64, error)) {
	sent := &sarama.ProducerMessage{Topic: p.topic, Partition: partition, Value: sarama.ByteEncoder(m.Value), Timestamp: time.UnixMilli(m.Time), Metadata: done}
	if m.Key != nil {
		sent.Key = sarama.ByteEncoder(m.Key)
	}
	for _, h := range m.Headers {
		sent.Headers = append(sent.Headers, sarama.RecordHeader{Key: []byte(h.Key), Value: h.Value})
	}
	p.in <- sent
}

// Close implements drive.Producer.
func (p *saramaDriven) Close() {
	close(p.in)
	<-p.ended
}

func (p *saramaDriven) run(ctx context.Context, l saramaLibrary) {
	defer close(p.ended)
	var producer sarama.AsyncProducer
	if cl := l.connect(ctx); cl != nil {
		defer func() { _ = cl.Close() }()
		persist(ctx, func() (err error) {
			producer, err = sarama.NewAsyncProducerFromClient(cl)
			return err
		})
	}
	if producer == nil {
		for m := range p.in {
			m.Metadata.(func(int64, error))(0, sarama.ErrClosedClient)
		}
		return
	}
	var answering sync.WaitGroup
	answering.Go(func() {
		for m := range producer.Successes() {
			m.Metadata.(func(int64, error))(m.Offset, nil)
		}
	})
	answering.Go(func() {
		for e := range producer.Errors() {
			e.Msg.Metadata.(func(int64, error))(0, e.Err)
		}
	})
	for m := range p.in {
		producer.Input() <- m
	}
	producer.AsyncClose()
	answering.Wait()
}

// Consumer implements drive.Library.
func (l saramaLibrary) Consumer(ctx context.Context, from []int64) (drive.Consumer, error) {
	ctx, cancel := context.WithCancel(ctx)
	c := &saramaAssigned{saramaQueued: newSaramaQueued(), cancel: cancel}
	c.running.Go(func() {
		cl := l.connect(ctx)
		if cl == nil {
			return
		}
		consumer, err := sarama.NewConsumerFromClient(cl)
		if err != nil {
			return // the client is closed
		}
		var partitions sync.WaitGroup
		for p, offset := range from {
			partitions.Go(func() { c.read(ctx, consumer, l.topic, int32(p), offset) })
		}
		partitions.Wait()
	})
	return c, nil
}

// saramaQueued is what a consumer has for its application.
type saramaQueued struct {
	records chan *sarama.ConsumerMessage
	errors  chan error
}

func newSaramaQueued() saramaQueued {
	return saramaQueued{records: make(chan *sarama.ConsumerMessage, saramaQueue), errors: make(chan error)}
}

func saramaRead(m *sarama.ConsumerMessage) drive.Record {
	r := drive.Record{Partition: m.Partition, Offset: m.Offset, Message: drive.Message{Key: m.Key, Value: m.Value, Time: m.Timestamp.UnixMilli()}}
	for _, h := range m.Headers {
		r.Headers = append(r.Headers, drive.Header{Key: string(h.Key), Value: h.Value})
	}
	return r
}

// take waits for a record, or an error, until ctx ends, and takes what is there besides.
func (q saramaQueued) take(ctx context.Context, max int) (rs []drive.Record, err error) {
	wait := ctx.Done()
	for len(rs) < max {
		select {
		case m := <-q.records:
			rs = append(rs, saramaRead(m))
			continue
		default:
		}
		if len(rs) > 0 {
			return rs, nil
		}
		select {
		case m := <-q.records:
			rs = append(rs, saramaRead(m))
		case err := <-q.errors:
			return nil, err
		case <-wait:
			return nil, nil
		}
	}
	return rs, nil
}

type saramaAssigned struct {
	saramaQueued
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// Poll implements drive.Consumer.
func (c *saramaAssigned) Poll(ctx context.Context, max int) ([]drive.Record, error) {
	return c.take(ctx, max)
}

// Close implements drive.Consumer.
func (c *saramaAssigned) Close() {
	c.cancel()
	c.running.Wait()
}

// read consumes one partition until ctx ends.
func (c *saramaAssigned) read(ctx context.Context, consumer sarama.Consumer, topic string, partition int32, offset int64) {
	var pc sarama.PartitionConsumer
	if !persist(ctx, func() (err error) {
		pc, err = consumer.ConsumePartition(topic, partition, offset)
		return err
	}) {
		return
	}
	stop := context.AfterFunc(ctx, pc.AsyncClose)
	defer stop()
	records, errs := pc.Messages(), pc.Errors()
	for records != nil || errs != nil {
		select {
		case m, ok := <-records:
			if !ok {
				records = nil
				continue
			}
			select {
			case c.records <- m:
			case <-ctx.Done():
			}
		case err, ok := <-errs:
			if !ok {
				errs = nil
				continue
			}
			select {
			case c.errors <- err:
			case <-ctx.Done():
			}
		}
	}
}

// Member implements drive.Library.
func (l saramaLibrary) Member(ctx context.Context, rejoin func() (begin func(map[int32]int64))) (drive.Member, error) {
	ctx, cancel := context.WithCancel(ctx)
	m := &saramaGrouped{l: l, rejoin: rejoin, runs: make(chan *saramaRun, 1), leave: make(chan struct{}), crash: cancel}
	m.running.Go(func() { m.live(ctx) })
	return m, nil
}

// saramaGrouped is a member of a group. Sarama balances the group anew only when Cleanup has returned.
type saramaGrouped struct {
	l       saramaLibrary
	rejoin  func() (begin func(map[int32]int64))
	running sync.WaitGroup
	crash   context.CancelFunc
	leave   chan struct{}

	runs chan *saramaRun // the next

	mu  sync.Mutex // from Poll to Release
	run *saramaRun // nil between two
}

// saramaRun is from one balance of the group to the next.
type saramaRun struct {
	saramaQueued
	session sarama.ConsumerGroupSession
	cl      sarama.Client

	mu     sync.Mutex
	at     map[int32]int64 // of claims that have begun
	claims int
	begin  func(map[int32]int64)
	begun  chan struct{} // closed once all have
}

func (m *saramaGrouped) live(ctx context.Context) {
	defer m.crash()
	cl := m.l.connect(ctx)
	if cl == nil {
		return
	}
	group, err := sarama.NewConsumerGroupFromClient(m.l.group, cl)
	if err != nil {
		return // the client is closed
	}
	consuming, stop := context.WithCancel(ctx)
	defer stop()
	var draining sync.WaitGroup
	draining.Go(func() {
		for range group.Errors() { // which come again, or end the session
			continue
		}
	})
	m.running.Go(func() {
		select {
		case <-m.leave:
			stop()
		case <-consuming.Done():
		}
	})
	persist(consuming, func() error {
		err := group.Consume(consuming, []string{m.l.topic}, &saramaHandler{m: m, cl: cl, begin: m.rejoin()})
		if err == nil {
			err = errors.New("balanced anew")
		}
		return err
	})
	if ctx.Err() != nil {
		_ = cl.Close() // before it could say that it leaves
	}
	_ = group.Close()
	draining.Wait()
}

// Poll implements drive.Consumer.
func (m *saramaGrouped) Poll(ctx context.Context, max int) ([]drive.Record, error) {
	m.mu.Lock()
	for m.run == nil {
		select {
		case m.run = <-m.runs:
		case <-ctx.Done():
			return nil, nil
		}
	}
	return m.run.take(ctx, max)
}

// Release implements drive.Member.
func (m *saramaGrouped) Release() { m.mu.Unlock() }

// Commit implements drive.Member. It sends what sarama's own commits send, but tells what came of it.
func (m *saramaGrouped) Commit(_ context.Context, next map[int32]int64) (retried bool, err error) {
	coordinator, err := m.run.cl.Coordinator(m.l.group)
	if err != nil {
		return false, err
	}
	req := &sarama.OffsetCommitRequest{
		Version: 8, ConsumerGroup: m.l.group, ConsumerGroupGeneration: m.run.session.GenerationID(), ConsumerID: m.run.session.MemberID(),
	}
	for p, o := range next {
		req.AddBlockWithLeaderEpoch(m.l.topic, p, o, -1, 0, "")
	}
	resp, err := coordinator.CommitOffset(req)
	if err == nil {
		err = onlyError(resp.Errors[m.l.topic])
	}
	if err != nil {
		_ = m.run.cl.RefreshCoordinator(m.l.group)
	}
	return false, err
}

// onlyError is the one result of a commit of several partitions.
func onlyError(by map[int32]sarama.KError) error {
	all := map[sarama.KError]bool{}
	var last sarama.KError
	for _, e := range by {
		all[e], last = true, e
	}
	switch {
	case len(all) != 1:
		return errors.New("some partitions committed and others not") // whose outcome is unknown
	case last == sarama.ErrNoError:
		return nil
	}
	return last
}

// Close implements drive.Consumer.
func (m *saramaGrouped) Close() {
	close(m.leave)
	m.running.Wait()
}

// saramaHandler is one run of a member for sarama.
type saramaHandler struct {
	m     *saramaGrouped
	cl    sarama.Client
	begin func(map[int32]int64)
	run   *saramaRun
}

// Setup implements sarama.ConsumerGroupHandler.
func (h *saramaHandler) Setup(s sarama.ConsumerGroupSession) error {
	h.run = &saramaRun{
		saramaQueued: newSaramaQueued(), session: s, cl: h.cl, at: map[int32]int64{}, claims: len(s.Claims()[h.m.l.topic]), begin: h.begin, begun: make(chan struct{}),
	}
	if h.run.claims == 0 {
		h.begin(h.run.at)
	}
	select {
	case h.m.runs <- h.run:
		return nil
	case <-s.Context().Done():
		return s.Context().Err()
	}
}

// Cleanup implements sarama.ConsumerGroupHandler.
func (h *saramaHandler) Cleanup(sarama.ConsumerGroupSession) error {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	select {
	case <-h.m.runs: // nobody has polled it
	default:
	}
	h.m.run = nil
	return nil
}

// ConsumeClaim implements sarama.ConsumerGroupHandler.
func (h *saramaHandler) ConsumeClaim(s sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	h.run.began(claim)
	select {
	case <-h.run.begun:
	case <-s.Context().Done():
		return nil
	}
	for m := range claim.Messages() {
		select {
		case h.run.records <- m:
		case <-s.Context().Done():
			return nil
		}
	}
	return nil
}

// began notes where a claim begins. What all begin with is what was committed.
func (r *saramaRun) began(claim sarama.ConsumerGroupClaim) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := claim.InitialOffset()
	if at < 0 {
		at = history.Unknown
	}
	r.at[claim.Partition()] = at
	if len(r.at) == r.claims {
		r.begin(r.at)
		close(r.begun)
	}
}
