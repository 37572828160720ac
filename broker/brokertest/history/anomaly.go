package history

// Anomaly names something that a correct cluster never shows.
type Anomaly string

// The anomalies. Where Jepsen has a name for one, it is used.
const (
	InconsistentOffsets Anomaly = "inconsistent-offsets"
	Duplicate           Anomaly = "duplicate"
	AbortedRead         Anomaly = "G1a"
	PrecommittedRead    Anomaly = "precommitted-read"
	PhantomRead         Anomaly = "phantom-read"
	LostWrite           Anomaly = "lost-write"
	Unseen              Anomaly = "unseen"

	PollSkip            Anomaly = "poll-skip"
	NonmonotonicPoll    Anomaly = "nonmonotonic-poll"
	IntPollSkip         Anomaly = "int-poll-skip"
	IntNonmonotonicPoll Anomaly = "int-nonmonotonic-poll"
	OutOfRange          Anomaly = "out-of-range"
	NonmonotonicSend    Anomaly = "nonmonotonic-send"
	IntSendSkip         Anomaly = "int-send-skip"
	IntNonmonotonicSend Anomaly = "int-nonmonotonic-send"

	G0         Anomaly = "G0"
	G0Process  Anomaly = "G0-process"
	G0Realtime Anomaly = "G0-realtime"
	G1c        Anomaly = "G1c"
	G1cProcess Anomaly = "G1c-process"
	G1cReal    Anomaly = "G1c-realtime"
	EarlyRead  Anomaly = "early-read"

	CommittedBack    Anomaly = "committed-back"
	CommittedReset   Anomaly = "committed-reset"
	CommittedPhantom Anomaly = "committed-phantom"

	ReplicaDivergence Anomaly = "replica-divergence"
	TierGap           Anomaly = "tier-gap"
	TierOverlap       Anomaly = "tier-overlap"
	TierBack          Anomaly = "tier-back"
)

// Meaning says each anomaly in a sentence, for the report.
var Meaning = map[Anomaly]string{
	InconsistentOffsets: "one offset has different records, for different readers or copies, or for a reader and the producer",
	Duplicate:           "one record lies at two offsets",
	AbortedRead:         "a read returned a record whose send failed or was aborted",
	PrecommittedRead:    "a transaction read what it had written itself",
	PhantomRead:         "a read returned a record that nobody had sent by then",
	LostWrite:           "an acknowledged record below one that was read was never read by anybody",
	Unseen:              "a record that was acknowledged, or is of a transaction of which others were read, was never read by anybody",

	PollSkip:            "a consumer's read left out records after its position",
	NonmonotonicPoll:    "a consumer's read went back behind its position",
	IntPollSkip:         "one read left out records between two that it returned",
	IntNonmonotonicPoll: "one read returned records out of their order",
	OutOfRange:          "a consumer was told that its position is out of range, and it was not",
	NonmonotonicSend:    "a producer's records lie in another order than it sent them in",
	IntSendSkip:         "others' records lie between those of one operation",
	IntNonmonotonicSend: "one operation's records lie in another order than it sent them in",

	G0:         "writes happened in a circle",
	G0Process:  "writes happened in a circle with the order of a process's operations",
	G0Realtime: "a record lies before one that was acknowledged before it was sent",
	G1c:        "writes and reads happened in a circle",
	G1cProcess: "writes and reads happened in a circle with the order of a process's operations",
	G1cReal:    "writes and reads happened in a circle with the order of time",
	EarlyRead:  "a read returned a record before it was committed: each in a circle read of one that had to come later",

	CommittedBack:    "a group's committed offset went back",
	CommittedReset:   "a group's committed offset fell to nothing or to 0",
	CommittedPhantom: "a group's committed offset is one that nobody had committed by then",

	ReplicaDivergence: "a copy lacks records below its high watermark, or has others",
	TierGap:           "entries of the tier leave out offsets between them",
	TierOverlap:       "entries of the tier have offsets twice, or none at all",
	TierBack:          "the tier came to end earlier than it had",
}

// allowed is what Kafka does not promise either.
func allowed(h *History, also []Anomaly) map[Anomaly]bool {
	set := map[Anomaly]bool{IntSendSkip: true}
	for _, a := range also {
		set[a] = true
	}
	for i := range h.Ops {
		if h.Ops[i].Func == Txn {
			// Transactions are not isolated from each other's writes: two may write to two partitions in
			// opposite orders. Sends of one record each have one order, so there a circle is a fault. One of reads alone
			// always is: what is read was committed before.
			for _, a := range []Anomaly{G0, G0Process, G0Realtime, G1c, G1cProcess, G1cReal} {
				set[a] = true
			}
			break
		}
	}
	return set
}
