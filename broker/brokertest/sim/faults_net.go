package sim

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

func (s *sim) cut(links ...link) (func(), string) {
	var text []string
	for _, l := range links {
		s.net.setLink(l.from, l.to, true)
		text = append(text, l.from+">"+l.to)
	}
	return func() {
		for _, l := range links {
			s.net.setLink(l.from, l.to, false)
		}
	}, strings.Join(text, " ")
}

// other is another machine than m.
func (s *sim) other(rng *rand.Rand, m *machine) *machine {
	return s.machines[(int(m.id-1)+1+rng.IntN(len(s.machines)-1))%len(s.machines)]
}

func partitioned(s *sim, rng *rand.Rand, m *machine) (func(), string) {
	o := s.other(rng, m)
	return s.cut(link{m.host, o.host}, link{o.host, m.host})
}

func halfPartitioned(s *sim, rng *rand.Rand, m *machine) (func(), string) {
	return s.cut(link{m.host, s.other(rng, m).host})
}

func isolated(s *sim, _ *rand.Rand, m *machine) (func(), string) {
	var all []link
	for _, o := range s.machines {
		if o != m {
			all = append(all, link{m.host, o.host}, link{o.host, m.host})
		}
	}
	return s.cut(all...)
}

// leftAlone is long enough for a broker that is left alone to lead what may be led by such a one.
const leftAlone = 5 * time.Second

// outdated leaves a broker alone with what it had a while ago. When the others come back it may die in its turn, and they go on
// from where they were.
func outdated(s *sim, rng *rand.Rand, m *machine) (func(), string) {
	connected, text := isolated(s, rng, m)
	inTurn := rng.IntN(2) == 0
	return func() {
		for _, o := range s.machines {
			if o != m && o.goesDown() {
				o.crash()
				s.after(leftAlone, o.comesUp)
			}
		}
		connected()
		s.after(leftAlone, func() {
			if inTurn && m.goesDown() {
				m.crash()
				s.after(leftAlone, m.comesUp)
			}
		})
	}, text
}

func unseen(s *sim, _ *rand.Rand, m *machine) (func(), string) {
	return s.cut(link{m.host, client}, link{client, m.host})
}

// silent has a broker take what clients send, and its answers lost, until it is killed: what they then send again to others, it
// may have acknowledged. Another may come back empty meanwhile.
func silent(s *sim, rng *rand.Rand, m *machine) (func(), string) {
	if m.life == nil {
		return nil, ""
	}
	heard, _ := s.cut(link{m.host, client})
	text := ""
	if o := s.other(rng, m); rng.IntN(2) == 0 {
		if back, _ := wiped(s, rng, o); back != nil {
			back()
			text = fmt.Sprintf("broker %d has an empty disk", o.id)
		}
	}
	return func() {
		if m.goesDown() {
			m.crash()
			m.comesUp()
		}
		heard()
	}, text
}

func reset(s *sim, rng *rand.Rand, m *machine) (func(), string) {
	to := client
	if rng.IntN(2) == 0 {
		to = s.other(rng, m).host
	}
	percent := 20 + rng.IntN(80)
	s.net.reset(m.host, to, percent)
	return func() {}, fmt.Sprintf("%d%% of those with %s", percent, to)
}
