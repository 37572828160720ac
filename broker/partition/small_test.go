package partition

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"firn/broker/controller"
	"firn/metadata"
	"firn/metadata/memkv"
	"firn/metadata/topic"
)

// A small world is a partition, its brokers, the metadata and the network between them, with all that may go wrong, as
// something that can be copied and compared. Who is in sync and where the high watermark is, who leads, and where logs
// are cut is decided by the code that decides it in a broker; logs, messages and disks are models.

// smallScope bounds a world, so that it has an end.
type smallScope struct {
	name     string
	replicas int
	minISR   int
	durable  bool // else the topic is relaxed, and power cuts take what is not on the disk
	appends  int
	epochs   int32 // leader epochs
	stops    int   // ends of processes, and of leases
	losses   int   // of those, of which disks or unsynced records are lost; the promise is to bear minISR-1
	lags     int   // times that a leader finds its followers slow
	lost     int   // transactions of unknown outcome
	late     int   // messages that arrive late, or once more
}

// question is a follower's fetch.
type question struct {
	leader, epoch, lastEpoch int32
	life                     int64
	offset                   int64
}

// attempt is an in-sync set that a leader's broker tries to commit.
type attempt struct {
	Proposal
	life   int64 // of the leader's broker
	unsure bool  // its outcome has been unknown
	back   bool  // the record is written as it was, to move it on
}

// smallRecord is the partition's record, with the lives of brokers for their epochs.
type smallRecord struct {
	leader, last int32
	life         int64
	epoch        int32
	rev          int64
	isr, elr     []int32
}

// site is one broker.
type site struct {
	up, registered bool
	broken         bool          // its disk has failed
	life           int64         // of its newest registration
	loss           metadata.Loss // on record
	took           metadata.Loss // by its last end, until it registers
	log            string        // the leader epoch of each record, a digit each
	durable        int           // records on the disk
	hw             int64
	leads          bool
	ledIn          int64 // the life in which it leads
	leader, epoch  int32
	rev            int64
	q              *quorum
	asked          *question // its newest fetch, of which a copy may still arrive
	sent, late     *attempt
}

type smallWorld struct {
	*smallScope
	sites     []site
	record    smallRecord
	before    smallRecord  // the record's last state but one
	plan      *smallRecord // a write of the controller's that is late; rev is what it follows
	committed string       // below any leader's high watermark so far
	wrong     string       // what must not be
}

func newSmallWorld(sc *smallScope) *smallWorld {
	w := &smallWorld{smallScope: sc}
	w.record = smallRecord{leader: 1, last: -1, life: 1, epoch: 1, rev: 1}
	for id := int32(1); id <= int32(sc.replicas); id++ {
		w.record.isr = append(w.record.isr, id)
		w.sites = append(w.sites, site{up: true, registered: true, life: 1, leader: -1, epoch: -1, rev: -1})
	}
	w.before = w.record
	return w
}

func (w *smallWorld) at(id int32) *site { return &w.sites[id-1] }

func (w *smallWorld) clone() *smallWorld {
	c := *w
	scope := *w.smallScope // what is left of it
	c.smallScope, c.sites = &scope, slices.Clone(w.sites)
	for i := range c.sites {
		if q := c.sites[i].q; q != nil {
			copied := *q // its sets are never changed in place
			copied.followers = slices.Clone(q.followers)
			c.sites[i].q = &copied
		}
	}
	return &c
}

func (w *smallWorld) fail(format string, args ...any) {
	if w.wrong == "" {
		w.wrong = fmt.Sprintf(format, args...)
	}
}

// A move is one thing that happens in a small world, to one broker.
type move struct {
	name string
	do   func(w *smallWorld, id int32) bool // false if it cannot happen, and the world is as it was
	harm bool
}

// moves is all that happens.
var moves = []move{
	{name: "appends a record", do: (*smallWorld).append},
	{name: "syncs its log", do: (*smallWorld).sync},
	{name: "fetches", do: func(w *smallWorld, id int32) bool { return w.fetch(id, 99) }},
	{name: "fetches one record", do: func(w *smallWorld, id int32) bool { return w.fetch(id, 1) }},
	{name: "fetches and gets no answer", do: func(w *smallWorld, id int32) bool { return w.fetch(id, -1) }},
	{name: "has fetched, which arrives late", do: (*smallWorld).repeat},
	{name: "hears of the newest record", do: func(w *smallWorld, id int32) bool { return w.hear(id, &w.record) }},
	{name: "hears of the record before", do: (*smallWorld).hearLate},
	{name: "finds its followers slow", do: (*smallWorld).lag, harm: true},
	{name: "proposes an in-sync set", do: (*smallWorld).propose},
	{name: "writes it", do: func(w *smallWorld, id int32) bool { return w.write(id, false) }},
	{name: "writes it and gets no answer", do: func(w *smallWorld, id int32) bool { return w.write(id, true) }},
	{name: "has its write lost", do: func(w *smallWorld, id int32) bool { return w.lose(id, false) }},
	{name: "has its write delayed", do: func(w *smallWorld, id int32) bool { return w.lose(id, true) }},
	{name: "has its delayed write arrive", do: (*smallWorld).arrive},
	{name: "loses its lease", do: (*smallWorld).expire, harm: true},
	{name: "is killed", do: func(w *smallWorld, id int32) bool { return w.stop(id, metadata.LossNone) }, harm: true},
	{name: "loses power", do: func(w *smallWorld, id int32) bool { return w.stop(id, metadata.LossRelaxed) }, harm: true},
	{name: "loses its disk", do: func(w *smallWorld, id int32) bool { return w.stop(id, metadata.LossAll) }, harm: true},
	{name: "finds its disk failed", do: (*smallWorld).fault, harm: true},
	{name: "gives up what is on its failed disk", do: (*smallWorld).resign},
	{name: "registers", do: (*smallWorld).register},
	{name: "is seen to by the controller", do: (*smallWorld).govern},
	{name: "is decided on by the controller, which writes late", do: (*smallWorld).decide},
	{name: "is written about, late", do: (*smallWorld).decree},
	{name: "has its loss acted on", do: (*smallWorld).forgive},
}

func (s *site) works() bool { return s.up && !s.broken }

// end is where what counts of the log ends.
func (w *smallWorld) end(s *site) int64 {
	if w.durable {
		return int64(s.durable)
	}
	return int64(len(s.log))
}

func (w *smallWorld) append(id int32) bool {
	s := w.at(id)
	if !s.works() || !s.leads || w.appends == 0 {
		return false
	}
	w.appends--
	s.log += string(rune('0' + s.epoch))
	w.advance(id)
	return true
}

func (w *smallWorld) sync(id int32) bool {
	s := w.at(id)
	if !s.works() || s.durable == len(s.log) {
		return false
	}
	s.durable = len(s.log)
	w.advance(id)
	return true
}

// advance is what Replica.advance does after everything that may raise a leader's high watermark.
func (w *smallWorld) advance(id int32) {
	s := w.at(id)
	if !s.works() || !s.leads {
		return
	}
	now := testNow
	if len(s.q.isr) == w.replicas {
		now = now.AddDate(-1000, 0, 0)
	}
	hw := s.q.highWatermark(s.hw, w.end(s), minInSync(int32(w.minISR), w.replicas), testLag, now)
	if hw < s.hw || hw > w.end(s) && hw > s.hw {
		w.fail("the high watermark of %d goes from %d to %d, its log ends at %d", id, s.hw, hw, w.end(s))
		return
	}
	s.hw = hw
	switch seen := s.log[:min(hw, int64(len(s.log)))]; {
	case strings.HasPrefix(w.committed, seen):
	case strings.HasPrefix(seen, w.committed):
		w.committed = seen
	default:
		w.fail("%q is committed by %d after %q", seen, id, w.committed)
	}
}

// endOffsetFor is what segment.Log.EndOffsetFor promises.
func (s *site) endOffsetFor(epoch int32) (found int32, end int64) {
	var epochs []int32
	starts := map[int32]int64{}
	begin := func(e int32, at int64) {
		if _, known := starts[e]; !known {
			epochs, starts[e] = append(epochs, e), at
		}
	}
	for i, d := range s.log {
		begin(d-'0', int64(i))
	}
	if s.leads {
		begin(s.epoch, int64(len(s.log)))
	}
	switch n := len(epochs); {
	case epoch < 0 || n == 0 || epoch > epochs[n-1]:
		return -1, -1
	case epoch == epochs[n-1]:
		return epoch, int64(len(s.log))
	case epoch < epochs[0]:
		return epoch, starts[epochs[0]]
	}
	for i, e := range epochs {
		if e <= epoch {
			found, end = e, starts[epochs[i+1]]
		}
	}
	return found, end
}

// fetch has a follower ask its leader for at most n records; with -1 the answer is lost.
func (w *smallWorld) fetch(id int32, n int64) bool {
	s := w.at(id)
	if !s.works() || s.leads || s.leader < 0 || w.durable && s.durable < len(s.log) {
		return false
	}
	q := question{leader: s.leader, epoch: s.epoch, lastEpoch: -1, life: s.life, offset: int64(len(s.log))}
	if n := len(s.log); n > 0 {
		q.lastEpoch = int32(s.log[n-1] - '0')
	}
	if !w.answer(id, &q, n) {
		return false
	}
	if s.asked = nil; w.late > 0 {
		s.asked = &q
	}
	return true
}

// repeat has a follower's last fetch arrive once more, when it has forgotten it.
func (w *smallWorld) repeat(id int32) bool {
	s := w.at(id)
	if s.asked == nil || w.late == 0 || !w.answer(id, s.asked, -1) {
		return false
	}
	w.late--
	s.asked = nil
	return true
}

// answer is what FetchPart.readAsFollower does, and what replication makes of it.
func (w *smallWorld) answer(id int32, a *question, n int64) bool {
	s, l := w.at(id), w.at(a.leader)
	if !l.works() || !l.leads || l.epoch != a.epoch {
		return false
	}
	if a.lastEpoch >= 0 {
		found, end := l.endOffsetFor(a.lastEpoch)
		if found < 0 {
			return false
		}
		if parted(a.lastEpoch, a.offset, found, end) {
			if n <= 1 {
				return false
			}
			w.cut(id, EpochEnd{Epoch: found, End: end})
			return true
		}
	}
	next := int64(len(l.log))
	if a.offset > next || n == 1 && next-a.offset < 2 {
		return false
	}
	l.q.fetched(id, a.life, a.offset, next, l.hw, testNow)
	w.advance(a.leader)
	if n < 0 {
		return true
	}
	s.log += l.log[a.offset:min(next, a.offset+n)]
	if w.durable {
		s.durable = len(s.log)
	}
	s.hw = max(s.hw, min(l.hw, w.end(s)))
	return true
}

// cut is Replica.Truncate.
func (w *smallWorld) cut(id int32, at EpochEnd) {
	s := w.at(id)
	to := truncation(at, int64(len(s.log)), s.endOffsetFor)
	if to < s.hw {
		w.fail("%d cuts its log at %d, its high watermark is %d", id, to, s.hw)
	}
	s.log = s.log[:to]
	s.durable = min(s.durable, len(s.log))
}

// hear has a broker's replica become what a record says: Replica.BecomeLeader and BecomeFollower.
func (w *smallWorld) hear(id int32, r *smallRecord) bool {
	s := w.at(id)
	leads := r.leader == id && r.life == s.life
	if !s.works() || r.epoch < s.epoch || r.rev < s.rev || r.rev == s.rev && leads == s.leads {
		return false
	}
	st := w.state(r)
	switch {
	case !leads:
		w.advance(id)
		s.q = nil
	case s.leads && s.epoch == r.epoch:
		s.q.adopt(st)
	default:
		s.q = newQuorum(id, st, int64(len(s.log)), testNow)
		if r.epoch == w.record.epoch && !strings.HasPrefix(s.log, w.committed) { // else it leads nobody
			w.fail("%d leads at epoch %d with %q, and %q is committed", id, r.epoch, s.log, w.committed)
		}
		for i := range w.sites {
			if o := &w.sites[i]; o.up && o.leads && o.epoch == r.epoch {
				w.fail("%d and %d lead at epoch %d", id, i+1, r.epoch)
			}
		}
	}
	s.leads, s.ledIn, s.leader, s.epoch, s.rev = leads, s.life, r.leader, r.epoch, r.rev
	w.advance(id)
	return true
}

func (w *smallWorld) hearLate(id int32) bool {
	if w.late == 0 || !w.hear(id, &w.before) {
		return false
	}
	w.late--
	return true
}

func (w *smallWorld) state(r *smallRecord) State {
	st := State{Leader: r.leader, LeaderEpoch: r.epoch, Rev: r.rev, ISR: r.isr, ELR: r.elr}
	for id := int32(1); id <= int32(w.replicas); id++ {
		st.Replicas = append(st.Replicas, id)
	}
	return st
}

// lag makes all that a leader knows of its followers old.
func (w *smallWorld) lag(id int32) bool {
	s := w.at(id)
	if !s.works() || !s.leads || w.lags == 0 {
		return false
	}
	w.lags--
	old := testNow.Add(-2 * testLag)
	for i := range s.q.followers {
		f := &s.q.followers[i]
		if f.fetched.After(old) {
			f.fetched = old
		}
		if f.caughtUp.After(old) {
			f.caughtUp = old
		}
	}
	w.advance(id)
	return true
}

// propose is Replica.Propose, and what broker.inSyncKeeper makes of it.
func (w *smallWorld) propose(id int32) bool {
	s := w.at(id)
	if !s.works() || !s.leads || s.sent != nil || s.ledIn != s.life {
		return false
	}
	p, ok := s.q.propose(s.hw, int64(len(s.log)), minInSync(int32(w.minISR), w.replicas), testLag, testNow, func(j Joiner) bool {
		return w.mayJoin(j)
	})
	if ok {
		p.LeaderEpoch = s.epoch
		s.sent = &attempt{Proposal: p, life: s.life}
	}
	w.advance(id)
	return true
}

func (w *smallWorld) mayJoin(j Joiner) bool {
	s := w.at(j.ID)
	return s.registered && s.life == j.BrokerEpoch && s.loss == metadata.LossNone
}

// commit writes the record.
func (w *smallWorld) commit(r smallRecord) {
	if w.late > 0 {
		w.before = w.record
	}
	r.rev = w.record.rev + 1
	w.record = r
	if r.leader >= 0 && !slices.Contains(r.isr, r.leader) {
		w.fail("%d leads and is not in sync: %+v", r.leader, r)
	}
}

// guarded reports whether the transaction of an attempt would go through, as metadata.Store.UpdatePartitions guards it.
func (w *smallWorld) guarded(id int32, a *attempt) bool {
	if s := w.at(id); a.Rev != w.record.rev || !s.registered || s.life != a.life {
		return false
	}
	return a.back || !slices.ContainsFunc(a.Joiners, func(j Joiner) bool { return !w.mayJoin(j) })
}

func (w *smallWorld) apply(a *attempt) {
	r := w.record
	if !a.back {
		r.isr, r.elr = a.ISR, a.ELR
	}
	w.commit(r)
}

// write has a leader's transaction be judged, and what broker.inSyncKeeper makes of the verdict.
func (w *smallWorld) write(id int32, unknown bool) bool {
	s := w.at(id)
	if !s.up || s.sent == nil || unknown && w.lost == 0 {
		return false
	}
	a := *s.sent
	was := w.record.rev > a.Rev && w.record.epoch == a.LeaderEpoch && slices.Equal(w.record.isr, a.ISR) && slices.Equal(w.record.elr, a.ELR) && !a.back
	switch applies := w.guarded(id, &a); {
	case unknown && !applies:
		return false
	case applies:
		w.apply(&a)
		if unknown {
			w.lost--
			a.unsure = true
			s.sent = &a
			return true
		}
	case was: // by an attempt of which nothing was known
	case !s.registered || s.life != a.life: // fenced
	case !a.unsure:
		if s.leads && s.epoch == a.LeaderEpoch && s.works() {
			s.q.refused(a.Proposal)
		}
	case len(a.Joiners) > 0 && !a.back:
		a.back = true
		s.sent = &a
		return true
	}
	s.sent = nil
	return true
}

// lose has a transaction get lost on its way, or delayed.
func (w *smallWorld) lose(id int32, delayed bool) bool {
	s := w.at(id)
	if !s.up || s.sent == nil || w.lost == 0 || delayed && s.late != nil {
		return false
	}
	w.lost--
	a := *s.sent
	if delayed {
		s.late = &a
	}
	unsure := a
	unsure.unsure = true
	s.sent = &unsure
	return true
}

func (w *smallWorld) arrive(id int32) bool {
	s := w.at(id)
	if s.late == nil {
		return false
	}
	a := s.late
	s.late = nil
	if w.guarded(id, a) {
		w.apply(a)
	}
	return true
}

func (w *smallWorld) expire(id int32) bool {
	s := w.at(id)
	if !s.registered || s.up && w.stops == 0 {
		return false
	}
	if s.up {
		w.stops--
	}
	s.registered = false
	return true
}

func (w *smallWorld) stop(id int32, took metadata.Loss) bool {
	s := w.at(id)
	harm := took == metadata.LossAll || took == metadata.LossRelaxed && !w.durable
	if s.broken {
		took, harm = metadata.LossAll, false // it is counted already
	}
	if !s.up || w.stops == 0 || harm && w.losses == 0 {
		return false
	}
	w.stops--
	if harm {
		w.losses--
	}
	if took == metadata.LossRelaxed {
		s.log = s.log[:s.durable]
	} else if took == metadata.LossAll {
		s.log = ""
	}
	s.durable = len(s.log) // whatever is opened is synced first
	s.up, s.broken, s.took, s.hw = false, false, took, 0
	s.leads, s.leader, s.epoch, s.rev, s.q, s.sent = false, -1, -1, -1, nil, nil
	return true
}

func (w *smallWorld) fault(id int32) bool {
	s := w.at(id)
	if !s.works() || w.losses == 0 || w.stops == 0 {
		return false
	}
	w.losses--
	s.broken = true
	return true
}

func (w *smallWorld) resign(id int32) bool {
	s := w.at(id)
	if !s.up || !s.broken || !s.registered {
		return false
	}
	r := w.record
	p := metadata.PartitionState{Leader: r.leader, LeaderEpoch: r.epoch, ISR: r.isr, ELR: r.elr}
	n, ok := p.Resigned(id, int64(s.life))
	if !ok || n.LeaderEpoch > w.epochs {
		return false
	}
	r.leader, r.epoch, r.isr, r.elr = n.Leader, n.LeaderEpoch, n.ISR, n.ELR
	w.commit(r)
	return true
}

func (w *smallWorld) register(id int32) bool {
	s := w.at(id)
	if s.up && s.registered {
		return false
	}
	s.up, s.registered = true, true
	s.life++
	s.loss, s.took = max(s.loss, s.took), metadata.LossNone
	return true
}

// should is what the controller says of the record; false if it is right.
func (w *smallWorld) should() (smallRecord, bool) {
	n, change := w.next()
	return n, change && n.epoch <= w.epochs
}

func (w *smallWorld) govern(id int32) bool {
	n, change := w.should()
	if id != 1 || !change {
		return false
	}
	w.commit(n)
	return true
}

func (w *smallWorld) decide(id int32) bool {
	n, change := w.should()
	if id != 1 || !change || w.plan != nil || w.late == 0 {
		return false
	}
	w.late--
	w.plan = &n
	return true
}

// decree has the controller's transaction be judged by its guards.
func (w *smallWorld) decree(id int32) bool {
	n := w.plan
	if id != 1 || n == nil {
		return false
	}
	w.plan = nil
	if n.rev != w.record.rev {
		return true
	}
	if n.epoch != w.record.epoch && n.leader >= 0 {
		if s := w.at(n.leader); !s.registered || s.life != n.life {
			return true
		}
	}
	w.commit(*n)
	return true
}

func (w *smallWorld) forgive(id int32) bool {
	s := w.at(id)
	if s.loss == metadata.LossNone || w.plan != nil {
		return false
	}
	if _, change := w.next(); change {
		return false
	}
	s.loss = metadata.LossNone
	return true
}

// check looks at what must hold at all times: whoever could be elected has all that is committed, and no replica lets
// anything else be read.
func (w *smallWorld) check() {
	for _, id := range slices.Concat(w.record.isr, w.record.elr) {
		s := w.at(id)
		if s.took != metadata.LossNone && !(w.durable && s.took == metadata.LossRelaxed) || s.loss != metadata.LossNone || s.broken {
			continue // it is about to be struck off
		}
		if log := s.log[:w.end(s)]; !strings.HasPrefix(log, w.committed) {
			w.fail("%d may be elected with %q, and %q is committed", id, log, w.committed)
		}
	}
	for i := range w.sites {
		if s := &w.sites[i]; s.works() && !strings.HasPrefix(w.committed, s.log[:s.hw]) {
			w.fail("%d lets %q be read, and %q is committed", i+1, s.log[:s.hw], w.committed)
		}
	}
}

// smallController asks the real controller, and remembers what it has said.
type smallController struct {
	images map[string]*metadata.Image
	said   map[string]smallAnswer
}

type smallAnswer struct {
	record smallRecord
	change bool
}

var theController = smallController{images: map[string]*metadata.Image{}, said: map[string]smallAnswer{}}

// image is one in which those brokers are alive, and that much is known of their losses.
func (c *smallController) image(w *smallWorld) (*metadata.Image, string) {
	key := fmt.Sprint(w.minISR, w.durable)
	for i := range w.sites {
		key += fmt.Sprint(w.sites[i].registered, w.sites[i].loss)
	}
	if im := c.images[key]; im != nil {
		return im, key
	}
	kv := memkv.New()
	defer func() { _ = kv.Close() }()
	keys, err := metadata.NewKeys("firn")
	if err != nil {
		panic(err)
	}
	values := map[string]string{"min.insync.replicas": fmt.Sprint(w.minISR)}
	if !w.durable {
		values["flush.messages"] = "100"
	}
	// What a broker epoch is does not matter, but that it is none of the past, and that the disks have it.
	res, err := kv.Txn(context.Background(), metadata.Txn{Then: []metadata.Op{keys.PutSettings(keys.TopicSettings(testTP.ID), metadata.Settings{Values: values})}})
	if err != nil {
		panic(err)
	}
	var ops []metadata.Op
	for i := range w.sites {
		s, id := &w.sites[i], int32(i+1)
		ops = append(ops, keys.PutNode(&metadata.Node{ID: id, State: metadata.NodeLive, Loss: s.loss, LastEpoch: res.Rev + 1}))
		if s.registered { // a record of version 1 with an incarnation
			ops = append(ops, metadata.Put(keys.Broker(id), append([]byte{8, 1, 18, 16}, make([]byte, 16)...)))
		}
	}
	if _, err := kv.Txn(context.Background(), metadata.Txn{Then: ops}); err != nil {
		panic(err)
	}
	store, err := metadata.Open(context.Background(), kv, metadata.Options{})
	if err != nil {
		panic(err)
	}
	defer func() { _ = store.Close() }()
	c.images[key] = store.Image()
	return c.images[key], key
}

// next is what the controller makes of the record, by what is registered now.
func (w *smallWorld) next() (smallRecord, bool) {
	r := w.record
	current := r.leader >= 0 && w.at(r.leader).life == r.life
	im, key := theController.image(w)
	key += fmt.Sprint("/", r.leader, r.last, current, r.isr, r.elr, r.epoch)
	a, known := theController.said[key]
	if !known {
		p := metadata.PartitionState{Partition: testTP, Leader: r.leader, LeaderEpoch: r.epoch, ISR: r.isr, ELR: r.elr, LastKnownLeader: r.last, Replicas: w.state(&r).Replicas}
		if b, alive := im.Broker(r.leader); alive && current {
			p.LeaderBrokerEpoch = b.Epoch
		} else if r.leader >= 0 {
			p.LeaderBrokerEpoch = 1
		}
		n, change := controller.Next(im, topic.Defaults{}, &p)
		a = smallAnswer{smallRecord{leader: n.Leader, last: n.LastKnownLeader, epoch: n.LeaderEpoch, isr: n.ISR, elr: n.ELR}, change}
		theController.said[key] = a
	}
	n := a.record
	n.rev, n.life = r.rev, r.life
	if n.epoch != r.epoch {
		n.life = 0
		if n.leader >= 0 {
			n.life = w.at(n.leader).life
		}
	}
	return n, a.change
}
