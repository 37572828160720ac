package history

import (
	"io"
	"math/rand/v2"
	"slices"
	"time"
)

// model is a cluster that keeps its promises, and clients of it that crash, give up and rebalance, at random.
type model struct {
	rng     *rand.Rand
	r       *Recorder
	logs    [][]int64 // by key: values by offset, hole where no consumer finds any
	next    int64     // value
	procs   int32
	late    []func() // what was given up and may still happen
	tierEnd []int64

	group      map[Key]int64 // committed
	generation int
	clients    []*modelClient
	flights    []*flight
}

const hole = -99

// flight is an operation under way.
type flight struct {
	client *modelClient
	n      int
	effect func() // nil once it has happened
	done   func() Op
}

// modelClient is a client that starts anew under another process id when it crashes.
type modelClient struct {
	kind    string
	process int32
	at      map[Key]int64 // positions of a consumer
	commit  map[Key]int64 // what a member has read
	busy    int
}

func newModel(seed uint64, keys int, lines io.Writer) *model {
	names := []string{"a", "b", "c", "d"}[:keys]
	m := &model{
		rng: rand.New(rand.NewPCG(seed, 1)), r: NewRecorder(names, lines),
		logs: make([][]int64, keys), tierEnd: make([]int64, keys), group: map[Key]int64{},
	}
	clock := time.Duration(0)
	m.r.now = func() time.Duration { clock += time.Microsecond; return clock }
	for _, kind := range []string{"producer", "producer", "txn", "reader", "member", "member", "observer"} {
		c := &modelClient{kind: kind}
		m.restart(c)
		m.clients = append(m.clients, c)
	}
	return m
}

func (m *model) restart(c *modelClient) {
	m.procs++
	c.process, c.at, c.commit, c.busy = m.procs, map[Key]int64{}, map[Key]int64{}, 0
}

func (m *model) key() Key { return Key(m.rng.IntN(len(m.logs))) }

func (m *model) chance(percent int) bool { return m.rng.IntN(100) < percent }

// run takes so many steps, then reads everything twice.
func (m *model) run(steps int) *History {
	for range steps {
		switch n := m.rng.IntN(10); {
		case n < 4:
			m.begin(m.clients[m.rng.IntN(len(m.clients))])
		case n < 9:
			m.advance()
		case len(m.late) > 0:
			m.late[0]()
			m.late = m.late[1:]
		}
		if m.chance(2) {
			m.rebalance()
		}
		if m.chance(2) {
			m.copies()
		}
	}
	for len(m.flights) > 0 {
		m.advance()
	}
	for _, via := range []string{"hot", "cold"} {
		m.final(via)
	}
	h, _ := m.r.Close()
	return h
}

func (m *model) append(k Key, v int64) int64 {
	if m.chance(3) {
		m.logs[k] = append(m.logs[k], hole)
	}
	m.logs[k] = append(m.logs[k], v)
	return int64(len(m.logs[k]) - 1)
}

// advance lets one operation take effect, or complete. Those of one client take effect in order.
func (m *model) advance() {
	if len(m.flights) == 0 {
		return
	}
	f := m.flights[m.rng.IntN(len(m.flights))]
	if f.effect != nil {
		for _, earlier := range m.flights {
			if earlier.client == f.client && earlier.effect != nil {
				f = earlier
				break
			}
		}
		f.effect()
		f.effect = nil
		return
	}
	if f.client.kind == "producer" && m.chance(2) {
		m.crash(f.client)
		return
	}
	m.flights = slices.DeleteFunc(m.flights, func(o *flight) bool { return o == f })
	f.client.busy--
	m.r.Complete(f.n, f.done())
}

// crash ends a producer: of what it has under way, the first may still happen, in order.
func (m *model) crash(c *modelClient) {
	lands := m.rng.IntN(4)
	for _, f := range m.flights {
		if f.client != c {
			continue
		}
		if f.effect != nil && lands > 0 {
			m.late = append(m.late, f.effect)
			lands--
		} else if f.effect != nil {
			lands = 0
		}
		if m.chance(70) {
			m.r.Complete(f.n, Op{Outcome: Info, Err: "closed"})
		}
	}
	m.flights = slices.DeleteFunc(m.flights, func(f *flight) bool { return f.client == c })
	m.restart(c)
}

func (m *model) fly(c *modelClient, op Op, effect func(), done func() Op) {
	op.Process = c.process
	c.busy++
	m.flights = append(m.flights, &flight{c, m.r.Invoke(op), effect, done})
}

func (m *model) begin(c *modelClient) {
	switch {
	case c.kind == "producer" && c.busy < 5:
		m.send(c)
	case c.busy > 0:
	case c.kind == "txn":
		m.txn(c)
	case c.kind == "reader" && (len(c.at) == 0 || m.chance(5)):
		k := m.key()
		pos := Position{k, m.rng.Int64N(int64(len(m.logs[k])) + 1)}
		m.fly(c, Op{Func: Assign, Positions: []Position{pos}}, func() { c.at = map[Key]int64{k: pos.Offset} }, func() Op { return Op{Outcome: OK} })
	case c.kind == "member" && len(c.commit) > 0 && m.chance(60):
		m.commitRead(c)
	case c.kind == "reader", c.kind == "member":
		m.poll(c)
	case c.kind == "observer":
		var got []Position
		m.fly(c, Op{Func: Committed, Group: "g"}, func() { got = m.committed() }, func() Op { return Op{Outcome: OK, Positions: got} })
	}
}

func (m *model) committed() (list []Position) {
	for k := range m.logs {
		o, ok := m.group[Key(k)]
		if !ok {
			o = Unknown
		}
		list = append(list, Position{Key(k), o})
	}
	return list
}

func (m *model) send(c *modelClient) {
	m.next++
	w := Record{m.key(), Unknown, m.next}
	fails := m.chance(3)
	effect := func() {
		if !fails {
			w.Offset = m.append(w.Key, w.Value)
		}
	}
	m.fly(c, Op{Func: Send, Writes: []Record{w}}, effect, func() Op {
		if fails {
			return Op{Outcome: Fail, Err: "MESSAGE_TOO_LARGE"}
		}
		return Op{Outcome: OK, Writes: []Record{w}}
	})
}

func (m *model) txn(c *modelClient) {
	var writes, reads []Record
	for range 1 + m.rng.IntN(3) {
		m.next++
		writes = append(writes, Record{m.key(), Unknown, m.next})
	}
	aborts := m.chance(20)
	effect := func() {
		reads = m.read(c, 2)
		for i, w := range writes {
			if aborts {
				m.append(w.Key, hole)
			} else {
				writes[i].Offset = m.append(w.Key, w.Value)
			}
		}
		for _, w := range writes {
			m.logs[w.Key] = append(m.logs[w.Key], hole)
		}
	}
	invoked := slices.Clone(writes)
	c.at = map[Key]int64{m.key(): 0}
	m.r.Complete(m.r.Invoke(Op{Process: c.process, Func: Assign}), Op{Outcome: OK, Positions: positions(c.at)})
	m.fly(c, Op{Func: Txn, Writes: invoked}, effect, func() Op {
		if aborts {
			return Op{Outcome: Fail, Reads: reads, Err: "aborted"}
		}
		return Op{Outcome: OK, Writes: writes, Reads: reads}
	})
}

func positions(at map[Key]int64) (list []Position) {
	for k, o := range at {
		list = append(list, Position{k, o})
	}
	return list
}

// read returns up to n records of each partition of a consumer, and moves it.
func (m *model) read(c *modelClient, n int) (out []Record) {
	for k := range Key(len(m.logs)) {
		at, ok := c.at[k]
		if !ok {
			continue
		}
		for i := 0; i < n && at < int64(len(m.logs[k])); at++ {
			if v := m.logs[k][at]; v != hole {
				out = append(out, Record{k, at, v})
				i++
			}
		}
		c.at[k] = at
	}
	return out
}

func (m *model) poll(c *modelClient) {
	var reads []Record
	before := map[Key]int64{}
	m.fly(c, Op{Func: Poll}, func() {
		for k, o := range c.at {
			before[k] = o
		}
		reads = m.read(c, 1+m.rng.IntN(4))
	}, func() Op {
		if m.chance(5) {
			c.at = before
			return Op{Outcome: Info, Reads: reads, Err: "disconnect"}
		}
		if c.kind == "member" {
			for _, r := range reads {
				c.commit[r.Key] = c.at[r.Key]
			}
		}
		return Op{Outcome: OK, Reads: reads}
	})
}

// commitRead commits what a member has read: at once, unknown to it, late or twice.
func (m *model) commitRead(c *modelClient) {
	what := c.commit
	c.commit = map[Key]int64{}
	generation, fate := m.generation, m.rng.IntN(12)
	apply := func() {
		for k, o := range what {
			if m.generation == generation {
				m.group[k] = o
			}
		}
	}
	refused := false
	effect := func() {
		refused = m.generation != generation
		switch fate {
		case 0: // lost
		case 1:
			m.late = append(m.late, apply)
		case 2:
			apply()
			m.late = append(m.late, apply)
		default:
			apply()
		}
	}
	m.fly(c, Op{Func: Commit, Group: "g", Positions: positions(what)}, effect, func() Op {
		switch {
		case fate <= 1 || refused && fate == 3:
			return Op{Outcome: Info, Err: "timeout"}
		case refused:
			return Op{Outcome: Fail, Err: "ILLEGAL_GENERATION"}
		}
		return Op{Outcome: OK, Lingers: fate == 2}
	})
}

// rebalance gives the partitions to members at random, if they are idle but for commits that are refused from then on.
func (m *model) rebalance() {
	var members []*modelClient
	for _, c := range m.clients {
		if c.kind == "member" {
			if c.busy > 0 {
				return
			}
			members = append(members, c)
		}
	}
	m.generation++
	if m.chance(20) {
		m.restart(members[0])
	}
	for _, c := range members {
		c.at, c.commit = map[Key]int64{}, map[Key]int64{}
	}
	given := map[*modelClient][]Position{}
	for _, p := range m.committed() {
		c := members[m.rng.IntN(2)]
		c.at[p.Key] = max(p.Offset, 0)
		given[c] = append(given[c], p)
	}
	for _, c := range members {
		m.r.Complete(m.r.Invoke(Op{Process: c.process, Func: Rebalance, Group: "g"}), Op{Outcome: OK, Positions: given[c]})
	}
}

// copies looks at replicas and at the tier.
func (m *model) copies() {
	k := m.key()
	end := int64(len(m.logs[k]))
	start := m.rng.Int64N(end + 1)
	hw := start + m.rng.Int64N(end-start+1)
	c := &modelClient{at: map[Key]int64{k: start}}
	var reads []Record
	for _, r := range m.read(c, int(hw-start)) {
		if r.Offset < hw {
			reads = append(reads, r)
		}
	}
	m.r.Complete(m.r.Invoke(Op{Func: Replica, Via: "broker"}), Op{Outcome: OK, Reads: reads, Spans: []Span{{k, start, hw}}})
	m.tierEnd[k] = max(m.tierEnd[k], hw)
	var spans []Span
	for at := int64(0); at < m.tierEnd[k]; {
		next := at + 1 + m.rng.Int64N(m.tierEnd[k]-at)
		spans = append(spans, Span{k, at, next})
		at = next
	}
	m.r.Complete(m.r.Invoke(Op{Func: Tier}), Op{Outcome: OK, Spans: spans, Positions: []Position{{k, m.tierEnd[k]}}})
}

func (m *model) final(via string) {
	c := &modelClient{kind: "final"}
	m.restart(c)
	for k := range m.logs {
		c.at[Key(k)] = 0
	}
	m.r.Complete(m.r.Invoke(Op{Process: c.process, Func: Assign}), Op{Outcome: OK, Positions: positions(c.at)})
	for {
		n := m.r.Invoke(Op{Process: c.process, Func: Poll, Via: via})
		reads := m.read(c, 7)
		m.r.Complete(n, Op{Outcome: OK, Reads: reads})
		if len(reads) == 0 {
			return
		}
	}
}
