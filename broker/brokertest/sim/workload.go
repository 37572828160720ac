package sim

// workload is a topic that clients work at while things go wrong.
type workload struct {
	name     string
	settings []string
	relaxed  bool // records are acknowledged before they are synced
	judged   judged
}

// judged says what has to be there in the end of what a topic has acknowledged.
type judged int8

const (
	all     judged = iota // all of it, and nobody has seen anything else meanwhile
	synced                // what had been synced before power was cut, whoever loses it
	remains               // whatever is there, of what was sent
)

var (
	durable   = workload{name: "durable"}
	relaxed   = workload{name: "relaxed", settings: flushesLate, relaxed: true}
	forgetful = workload{name: "forgetful", settings: flushesLate, relaxed: true, judged: synced}
	unclean   = workload{name: "unclean", settings: []string{"unclean.leader.election.enable=true", "min.insync.replicas=1"}, judged: remains}

	flushesLate = []string{"flush.messages=1000000", "flush.ms=1000"}
)

// choose says what a seed is about.
func (s *sim) choose() {
	s.workloads = [][]workload{{durable, relaxed}, {durable, unclean}, {relaxed}, {durable}, {durable, forgetful}, {forgetful}}[s.rng.IntN(6)]
	s.churns, s.trims = s.rng.IntN(3) == 0, s.rng.IntN(3) == 0
	if s.rng.IntN(2) == 0 {
		s.unlike = append(s.unlike, "local.retention.ms=-1") // what is in the tier stays on the disks, too
	}
	if s.rng.IntN(3) == 0 {
		s.unlike = append(s.unlike, "tier.max.lag.ms=60000", "segment.bytes=16384") // more is on the disks alone, and not synced
	}
	if s.rng.IntN(2) == 0 {
		s.unlike = append(s.unlike, "index.interval.bytes=65536") // a log that is opened is walked all along its last segment
	}
	s.brokers = copies
	if s.rng.IntN(3) == 0 {
		s.brokers++
	}
}
