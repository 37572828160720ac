package history

import (
	"fmt"
	"math"
	"time"
)

// Key is a partition: its place in History.Keys.
type Key int32

// Record is a value at an offset of a partition.
type Record struct {
	Key    Key
	Offset int64 // Unknown in a send that was not acknowledged
	Value  int64 // no two sends have the same for one key
}

// Position is an offset of a partition, with nothing at it.
type Position struct {
	Key    Key
	Offset int64 // Unknown where nobody was told one, as for a group without a commit
}

// Span is the offsets from Start up to but without End.
type Span struct {
	Key        Key
	Start, End int64
}

// Unknown is the offset of what has none, or none that is known.
const Unknown = -1

// Never is when an operation completed that has not.
const Never = math.MaxInt64

// Func is what an operation does.
type Func uint8

// The operations.
const (
	Send      Func = iota // Writes
	Poll                  // Reads
	Txn                   // Writes and Reads that happen all or not at all
	Assign                // the process reads Positions from now on, and nothing else
	Rebalance             // the process reads Positions, too: those Group had committed, the beginning where it had none
	Commit                // Positions, by Group
	Committed             // what Group has committed, by Positions
	Replica               // Reads are all records that the copy named Via has in Spans, which end at most at its high watermark
	Tier                  // Spans are what is in the tier, in the manifest's order; Positions, of partitions it is known of, where it is said to end
	Crash                 // the process is no more
	funcs                 // their number
)

var funcNames = [funcs]string{"send", "poll", "txn", "assign", "rebalance", "commit", "committed", "replica", "tier", "crash"}

// String implements fmt.Stringer.
func (f Func) String() string { return funcNames[f] }

// Outcome is what is known of an operation's effect.
type Outcome uint8

// The outcomes. The first is that of operations that have not completed, too.
const (
	Info Outcome = iota // it may have happened, may yet, or may never
	OK                  // it happened
	Fail                // it did not and will not happen
	outcomes
)

var outcomeNames = [outcomes]string{"info", "ok", "fail"}

// String implements fmt.Stringer.
func (o Outcome) String() string { return outcomeNames[o] }

// Op is one operation of one process, which is one lifetime of one client. A process may have several at a time.
type Op struct {
	Process int32
	Func    Func
	Outcome Outcome
	Lingers bool // an attempt at it may still take effect, though a later attempt succeeded

	Invoked, Completed int64         // places in the order of all events
	Start, End         time.Duration // since the history began

	Writes    []Record
	Reads     []Record // in the order the process got them
	Positions []Position
	Spans     []Span
	Group     string
	Via       string // which copy was read, as the one who read it knows: "tier", "broker 2"
	Err       string // of Kafka's or the client's errors
}

// History is what all processes did.
type History struct {
	Keys []string // names of partitions
	Ops  []Op     // in the order of their invocation
}

// name is what people call a key.
func (h *History) name(k Key) string {
	if k < 0 || int(k) >= len(h.Keys) {
		return fmt.Sprintf("key %d", k)
	}
	return h.Keys[k]
}
