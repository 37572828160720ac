package history

import (
	"slices"
	"strings"
	"testing"
)

// For each anomaly a history that has it, with all that is reported of it, and one as close as can be that has none.
var exemplars = []struct {
	anomaly   Anomaly
	bad, says string // and what else the same history shows, as anomalies puts it
	good      string
}{
	{
		InconsistentOffsets, `
		1 send a1@0
		2 poll a1@0 via=local
		3 poll a2@0 via=tier
		1 send a2@1
		2 poll a2@1`, "duplicate:1 inconsistent-offsets:1 phantom-read:1 G1c-realtime:1 early-read:1", `
		1 send a1@0
		1 send a2@1
		2 poll a1@0 via=local
		3 poll a1@0 a2@1 via=tier`,
	},
	{
		InconsistentOffsets, `
		1 send a1@0
		x< 1 send a2
		2 poll a2@0
		x> info
		2 poll a1@1`, "duplicate:1 inconsistent-offsets:1 nonmonotonic-send:1", `
		1 send a1@0
		x< 1 send a2
		2 poll a1@0
		x> info
		2 poll a2@1`,
	},
	{
		Duplicate, `
		1 send a1@0
		1 send a2@1
		2 poll a1@0 a2@1 a1@2`, "duplicate:1", `
		1 send a1@0
		1 send a2@1
		2 poll a1@0 a2@1
		3 poll a1@0 a2@1`,
	},
	{
		AbortedRead, `
		1 send a1@0
		1 send a2 fail
		2 poll a1@0 a2@1`, "G1a:1", `
		1 send a1@0
		1 send a2 info
		2 poll a1@0 a2@1`,
	},
	{
		AbortedRead, `
		1 txn w.a1 fail
		2 poll a1@0`, "G1a:1", `
		1 txn w.a1 fail
		2 poll a1@0 info`,
	},
	{
		PrecommittedRead, `
		1 txn w.a1@0 r.a1@0`, "precommitted-read:1", `
		1 send b1@0
		1 txn w.a1@0 r.b1@0
		2 poll a1@0`,
	},
	{
		PhantomRead, `
		1 send a1@0
		2 poll a1@0 a7@1`, "phantom-read:1", `
		1 send a1@0
		x< 1 send a7
		2 poll a1@0 a7@1
		x> a7@1`,
	},
	{
		PhantomRead, `
		2 poll a1@0
		1 send a1@0`, "phantom-read:1 G1c-realtime:1 early-read:1", `
		x< 2 poll
		1 send a1@0
		x> a1@0`,
	},
	{
		LostWrite, `
		1 send a1@0
		1 send a2@1
		1 send a3@2
		2 poll a1@0 a3@2`, "int-poll-skip:1 lost-write:1 unseen:1", `
		1 send a1@0
		1 send a2 info
		1 send a3@2
		2 poll a1@0 a3@2`,
	},
	{
		Unseen, `
		1 send a1@0
		1 send a2@1
		2 poll a1@0`, "unseen:1", `
		1 send a1@0
		1 send a2 info
		2 poll a1@0`,
	},
	{
		Unseen, `
		1 send a1@0
		1 send a2
		2 poll a1@0`, "unseen:1", `
		1 send a1@0
		1 send a2
		2 poll a1@0 a2@5`,
	},
	{
		PollSkip, `
		1 send a1@0
		1 send a2@1
		1 send a3@2
		2 assign a@0
		2 poll a1@0
		2 poll a3@2
		3 poll a2@1`, "poll-skip:1", `
		1 send a1@0
		1 send a2@1
		1 send a3@2
		2 assign a@0
		2 poll a1@0
		2 assign a@2
		2 poll a3@2
		3 poll a2@1`,
	},
	{
		PollSkip, `
		1 send a1@0
		1 send a2@1
		2 assign a@0
		2 poll a2@1
		3 poll a1@0`, "poll-skip:1", `
		1 send a1@5
		1 send a2@9
		2 assign a@0
		2 poll a1@5
		2 poll a2@9`,
	},
	{
		PollSkip, `
		1 send a1@0
		1 send a2@1
		1 commit g=G a@1
		2 rebalance g=G a@1
		2 poll a1@0
		3 rebalance g=H a@-1
		3 poll a2@1`, "nonmonotonic-poll:1 poll-skip:1", `
		1 send a1@0
		1 send a2@1
		1 commit g=G a@1
		2 rebalance g=G a@1
		2 poll a2@1
		3 rebalance g=H a@-1
		3 poll a1@0 a2@1`,
	},
	{
		NonmonotonicPoll, `
		1 send a1@0
		1 send a2@1
		2 assign a@0
		2 poll a1@0 a2@1
		2 poll a2@1`, "nonmonotonic-poll:1", `
		1 send a1@0
		1 send a2@1
		2 assign a@0
		2 poll a1@0 a2@1 info
		2 poll a1@0 a2@1`,
	},
	{
		IntPollSkip, `
		1 send a1@0
		1 send a2@1
		1 send a3@2
		2 poll a1@0 a3@2
		3 poll a2@1`, "int-poll-skip:1", `
		1 send a1@0
		1 send b2@1
		1 send a3@2
		2 poll a1@0 b2@1 a3@2`,
	},
	{
		IntNonmonotonicPoll, `
		1 send a1@0
		1 send a2@1
		2 poll a2@1 a1@0`, "int-nonmonotonic-poll:1", `
		1 send a1@0
		1 send a2@1
		2 assign a@1
		x< 2 poll
		2 rebalance g=G a@-1
		x> a2@1 a1@0 a2@1`,
	},
	{
		PollSkip, `
		1 send a1@0
		1 send a2@1
		x< 2 poll
		2 rebalance g=G a@-1
		x> a2@1
		3 poll a1@0`, "poll-skip:1", `
		1 send a1@0
		1 send a2@1
		x< 2 poll
		2 rebalance g=G a@-1
		x> a1@0
		3 poll a2@1`,
	},
	{
		OutOfRange, `
		1 send a1@0
		1 send a2@1
		2 assign a@1
		2 poll err=OFFSET_OUT_OF_RANGE
		3 poll a1@0 a2@1`, "out-of-range:1", `
		1 send a1@0
		2 assign a@2
		1 send a2@1
		2 poll err=OFFSET_OUT_OF_RANGE
		3 poll a1@0 a2@1`,
	},
	{
		OutOfRange, `
		1 send a1@0
		1 send a2@1
		2 rebalance g=G a@-1
		2 poll a1@0
		2 poll err=OFFSET_OUT_OF_RANGE
		3 poll a1@0 a2@1`, "out-of-range:1", `
		1 send a1@0
		1 send a2@1
		2 assign a@-1
		2 poll err=OFFSET_OUT_OF_RANGE
		3 poll err=OFFSET_OUT_OF_RANGE
		3 poll a1@0 a2@1`,
	},
	{
		NonmonotonicSend, `
		x< 1 send a1
		y< 1 send a2
		y> a2@0
		x> a1@1
		2 poll a2@0 a1@1`, "nonmonotonic-send:1", `
		x< 1 send a1
		y< 3 send a2
		y> a2@0
		x> a1@1
		2 poll a2@0 a1@1`,
	},
	{
		NonmonotonicSend, `
		1 send a1 info
		1 send a2@0
		2 poll a2@0 a1@1`, "nonmonotonic-send:1", `
		1 send a1 info
		1 crash info
		3 send a2@0
		2 poll a2@0 a1@1`,
	},
	{
		IntSendSkip, `
		1 txn w.a1@0 w.a3@2
		3 send a2@1
		2 poll a1@0 a2@1 a3@2`, "G0:1 G0-realtime:1 int-send-skip:1", `
		1 txn w.a1@0 w.a3@2
		2 poll a1@0 a3@2`,
	},
	{
		IntNonmonotonicSend, `
		1 send a1@1 a2@0
		2 poll a2@0 a1@1`, "int-nonmonotonic-send:1", `
		1 send a1@0 a2@1
		2 poll a1@0 a2@1`,
	},
	{
		G0, `
		x< 1 send a1@0 b1@1
		y< 2 send b2@0 a2@1
		x> ok
		y> ok
		3 poll a1@0 a2@1 b2@0 b1@1`, "G0:1", `
		x< 1 send a1@0 b1@0
		y< 2 send b2@1 a2@1
		x> ok
		y> ok
		3 poll a1@0 a2@1 b1@0 b2@1`,
	},
	{
		G0Process, `
		1 send a1@1
		1 send a2@0
		2 poll a2@0 a1@1`, "G0-process:1 G0-realtime:1 nonmonotonic-send:1", `
		1 send a1@0
		1 send a2@1
		2 poll a1@0 a2@1`,
	},
	{
		G0Realtime, `
		1 send a1@1
		2 send a2@0
		3 poll a2@0 a1@1`, "G0-realtime:1", `
		x< 1 send a1
		2 send a2@0
		x> a1@1
		3 poll a2@0 a1@1`,
	},
	{
		G1c, `
		x< 1 txn w.a1@0 r.b2@0
		y< 2 txn w.b2@0 r.a1@0
		x> ok
		y> ok`, "G1c:1 early-read:1", `
		x< 1 txn w.a1@0
		y< 2 txn w.b2@0 r.a1@0
		x> ok
		y> ok
		3 poll b2@0`,
	},
	{
		G1cProcess, `
		x< 1 send a2
		2 poll a2@1
		2 send a1@0
		x> a2@1
		3 poll a1@0 a2@1`, "G1c-process:1 G1c-realtime:1", `
		x< 1 send a2
		2 poll a2@0
		2 send a1@1
		x> a2@0
		3 poll a2@0 a1@1`,
	},
	{
		G1cReal, `
		1 send a1@1
		2 poll a1@1
		3 send a2@0
		4 poll a2@0`, "G0-realtime:1 G1c-realtime:1", `
		1 send a1@0
		2 poll a1@0
		3 send a2@1
		2 poll a2@1`,
	},
	{
		EarlyRead, `
		x< 1 txn w.a1@0 r.b2@0
		y< 2 txn w.b2@0 r.a1@0
		x> ok
		y> ok`, "early-read:1 G1c:1", `
		x< 1 txn w.a1@0 w.c3@0 r.b2@0
		y< 2 txn w.b2@0 w.c4@1
		y> ok
		x> ok
		3 poll a1@0 c3@0 c4@1`,
	},
	{
		Unseen, `
		1 txn w.a1 w.b2 info
		2 poll a1@0`, "unseen:1", `
		1 txn w.a1 w.b2 info
		1 txn w.a3 w.b4 fail
		1 txn w.a5 w.b6 info
		2 poll a5@4 b6@4`,
	},
	{
		CommittedBack, `
		1 commit g=G a@5
		1 commit g=G a@9
		2 committed g=G a@5`, "committed-back:1", `
		1 commit g=G a@5
		x< 2 committed g=G
		1 commit g=G a@9
		x> a@5`,
	},
	{
		CommittedBack, `
		1 commit g=G a@5
		1 commit g=G a@9
		2 commit g=G a@5`, "committed-back:1", `
		1 commit g=G a@5
		1 commit g=G a@9
		2 commit g=G a@5 fail
		2 committed g=G a@9`,
	},
	{
		CommittedBack, `
		2 commit g=G a@5 info
		1 commit g=G a@9
		3 committed g=G a@9
		2 committed g=G a@7`, "committed-back:1", `
		2 commit g=G a@5 info
		1 commit g=G a@9
		3 committed g=G a@9
		2 committed g=G a@5
		2 commit g=G a@7
		2 committed g=G a@7`,
	},
	{
		CommittedBack, `
		1 commit g=G a@5
		1 commit g=G a@9
		2 rebalance g=G a@5`, "committed-back:1", `
		1 commit g=G a@5 lingers
		1 commit g=G a@9
		2 rebalance g=G a@5`,
	},
	{
		CommittedReset, `
		1 commit g=G a@5
		2 committed g=G a@-1`, "committed-reset:1", `
		1 commit g=G a@5
		2 committed g=H a@-1
		2 committed g=G a@5 b@-1`,
	},
	{
		CommittedReset, `
		1 commit g=G a@5 info
		2 rebalance g=G a@5
		2 rebalance g=G a@0`, "committed-reset:1", `
		1 commit g=G a@5 info
		2 rebalance g=G a@-1
		2 rebalance g=G a@5`,
	},
	{
		CommittedPhantom, `
		2 committed g=G a@3`, "committed-phantom:1", `
		x< 1 commit g=G a@3
		2 committed g=G a@3
		x> info`,
	},
	{
		ReplicaDivergence, `
		1 send a1@0
		1 send a2@1
		2 poll a1@0 a2@1
		9 replica via=b1 a[0,2) a1@0 a2@1
		9 replica via=b2 a[0,2) a1@0`, "replica-divergence:1", `
		1 send a1@0
		1 send a2@1
		2 poll a1@0 a2@1
		9 replica via=b1 a[0,2) a1@0 a2@1
		9 replica via=b2 a[1,2) a2@1
		9 replica via=b3 a[0,1) a1@0`,
	},
	{
		ReplicaDivergence, `
		1 send a1@0
		x< 1 send a2
		2 poll a1@0
		9 replica via=b1 a[0,2) a1@0 a2@1
		9 replica via=b2 a[0,2) a1@0 a1@1
		x> info`, "duplicate:1 inconsistent-offsets:1 replica-divergence:1", `
		1 send a1@0
		x< 1 send a2
		2 poll a1@0
		9 replica via=b1 a[0,2) a1@0 a2@1
		9 replica via=b2 a[0,2) a1@0 a2@1
		x> info`,
	},
	{
		TierGap, `9 tier a[0,5) a[6,9)`, "tier-gap:1", `9 tier a[0,5) b[6,9) a[5,9)`,
	},
	{
		TierOverlap, `9 tier a[0,5) a[4,9) b[3,3)`, "tier-overlap:2", `9 tier a[0,5) b[4,9) a[5,6)`,
	},
	{
		TierBack, `
		9 tier a[0,5) a[5,9)
		9 tier a[0,5)`, "tier-back:1", `
		9 tier a[0,5) a[5,9)
		9 tier a[3,9) a[9,10)`,
	},
	{
		TierBack, `
		9 tier a[0,5) a[5,9) a@9
		9 tier a@0`, "tier-back:1", `
		9 tier a@0
		9 tier a[0,5) a[5,9) a@9
		9 tier b[0,1) b@1
		9 tier a@9`,
	},
	{
		TierGap, `9 tier a[0,5) a[5,8) a@9`, "tier-gap:1", `9 tier a[0,5) a[5,9) a@9`,
	},
	{
		TierOverlap, `9 tier a[0,5) a[5,9) a@8`, "tier-overlap:1", `9 tier a[5,9) a@9`,
	},
}

func TestAnomalies(t *testing.T) {
	shown := map[Anomaly]bool{}
	for _, e := range exemplars {
		t.Run(string(e.anomaly), func(t *testing.T) {
			bad := Check(script(t, e.bad))
			shown[e.anomaly] = true
			if bad.Found(e.anomaly) == 0 || sortWords(anomalies(bad)) != sortWords(e.says) {
				t.Errorf("reported: %q, want %q\n%s%v", anomalies(bad), e.says, e.bad, bad)
			}
			if good := Check(script(t, e.good)); !good.Valid || good.Found(e.anomaly) > 0 {
				t.Errorf("reported of a good history: %q\n%s\n%v", anomalies(good), e.good, good)
			}
		})
	}
	for a := range Meaning {
		if !shown[a] {
			t.Errorf("no example of %s", a)
		}
	}
}

// Transactions may write in a circle. That one is read before it has been committed, or half of it, is a fault.
func TestTransactionsAreReadWholeAndCommitted(t *testing.T) {
	for _, text := range []string{
		`
		x< 1 txn w.a1@0 r.b2@0
		y< 2 txn w.b2@0 r.a1@0
		x> ok
		y> ok`, `
		x< 1 txn w.a1@0
		2 poll a1@0
		3 send b2@0
		x> r.b2@0 ok`, `
		1 txn w.a1 w.b2 info
		2 poll a1@0`,
	} {
		if r := Check(script(t, text)); r.Valid {
			t.Errorf("%s\n%v", text, r)
		}
	}
}

func sortWords(s string) string {
	words := strings.Fields(s)
	slices.Sort(words)
	return strings.Join(words, " ")
}
