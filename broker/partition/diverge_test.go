package partition

import (
	"errors"
	"testing"
	"time"
)

// A leader that another may have replaced, and acknowledged more, does not tell consumers to begin anew.
func TestOffsetBeyondTheEndOfALeaderOfThePast(t *testing.T) {
	lease := &flag{}
	lease.ok.Store(true)
	all := newMembers(t, 3, durableConfig(), func(o *Options) { o.Lease, o.HoldOver = lease, time.Hour })
	elect(t, all, three(1, 1))
	if a := start(all[0].r, AcksLeader, records(t, 1, "v")).wait(t); a.Err != nil {
		t.Fatal(a.Err)
	}
	ask := func(offset int64, epoch int32) FetchPart {
		p := part(all[0].r, offset)
		p.LastEpoch = epoch
		f := fetchWait(all[0].rig, 1, 0, p)
		f.wait(t)
		return f.Parts[0]
	}
	// It is asked for an offset beyond its end, with and without an epoch that it does not know, and for the end of that epoch.
	beyond := func() error {
		err := ask(7, -1).Err
		for name, other := range map[string]error{"with an epoch": ask(7, 9).Err, "at its end with an epoch": ask(1, 9).Err} {
			if !errors.Is(other, err) {
				t.Errorf("%s: %v", name, other)
			}
		}
		end, lost := all[0].r.EpochEnd(t.Context(), 9, -1)
		if errors.Is(err, ErrOffsetOutOfRange) && lost != nil || errors.Is(err, ErrNotLeader) && !errors.Is(lost, ErrNotLeader) || end != (EpochEnd{-1, -1}) {
			t.Errorf("end of an epoch: %+v, %v", end, lost)
		}
		return err
	}
	for i, registered := range []bool{true, false} {
		lease.ok.Store(registered)
		elect(t, all, three(1, int32(i+1)))
		if err := beyond(); !errors.Is(err, ErrNotLeader) {
			t.Errorf("registered %v: %v, and others may follow another leader", registered, err)
		}
		others := map[*member]*Follower{all[1]: {ID: 2, BrokerEpoch: 20}, all[2]: {ID: 3, BrokerEpoch: 30}}
		for range 2 { // both may have been on their way for long
			for m, who := range others {
				askAs(t, who, m, all[0])
			}
			if err := beyond(); !errors.Is(err, ErrNotLeader) {
				t.Errorf("registered %v: %v, when others have asked who knows when", registered, err)
			}
		}
		for m, who := range others {
			askAs(t, who, m, all[0])
		}
		want := ErrOffsetOutOfRange
		if !registered { // another is elected the moment after they have asked
			want = ErrNotLeader
		}
		if err := beyond(); !errors.Is(err, want) {
			t.Errorf("registered %v, while all others follow: %v", registered, err)
		}
	}
	elect(t, all, State{Leader: 1, LeaderEpoch: 3, Rev: 300, Replicas: []int32{1, 2, 3}, ISR: []int32{1}})
	if err := beyond(); !errors.Is(err, ErrOffsetOutOfRange) {
		t.Errorf("where no other could lead: %v", err)
	}
	for i, registered := range []bool{true, false} {
		lease.ok.Store(registered)
		elect(t, all, State{Leader: 1, LeaderEpoch: int32(4 + i), Rev: int64(400 + i), Replicas: []int32{1, 2, 3}, ISR: []int32{1}, ELR: []int32{2, 3}})
		if err := beyond(); errors.Is(err, ErrNotLeader) == registered {
			t.Errorf("registered %v, where others could lead if it were not: %v", registered, err)
		}
	}
}

// An epoch without records is no sign of another leader: where it would have ended a leader can say on its own, though the others
// are away.
func TestEpochWithoutRecordsAtALoneLeader(t *testing.T) {
	all := newMembers(t, 3, durableConfig())
	for _, epoch := range []int32{4, 5, 6} {
		elect(t, all, three(1, epoch))
		for range 10 * (epoch%2 ^ 1) {
			start(all[0].r, AcksLeader, records(t, 1, "v")).wait(t)
		}
		for range 2 {
			catchUp(t, all[1], all[0])
			catchUp(t, all[2], all[0])
		}
	}
	alone := three(1, 6)
	alone.Rev, alone.ISR, alone.ELR = alone.Rev+1, []int32{1}, []int32{2, 3}
	elect(t, all[:1], alone)
	want := EpochEnd{Epoch: 4, End: 10}
	if end, err := all[0].r.EpochEnd(t.Context(), 5, -1); end != want || err != nil {
		t.Errorf("the epoch's end: %+v, %v", end, err)
	}
	p := part(all[0].r, 10)
	p.LastEpoch = 5
	f := fetchWait(all[0].rig, 1, 0, p)
	f.wait(t)
	if got := f.Parts[0]; got.Err != nil || got.Diverging != want {
		t.Errorf("a fetch with it: %+v, %v", got.Diverging, got.Err)
	}
}
