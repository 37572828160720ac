package metadata

import (
	"fmt"
	"testing"
)

func TestResigned(t *testing.T) {
	for _, c := range []struct {
		leader   int32
		isr, elr []int32
		want     string // leader, ISR, ELR; "" for none
	}{
		{1, []int32{1, 2, 3}, nil, "-1 [2 3] []"},
		{2, []int32{1, 2}, nil, "2 [2] []"},
		{2, []int32{2}, []int32{1, 3}, "2 [2] [3]"},
		{1, []int32{1}, []int32{3}, "-1 [] [3]"},
		{-1, nil, []int32{1, 3}, "-1 [] [3]"},
		{1, []int32{1}, nil, ""},
		{-1, nil, []int32{1}, ""},
		{2, []int32{2, 3}, nil, ""},
		{1, []int32{2}, nil, "-1 [2] []"}, // which should not be
	} {
		p := &PartitionState{Leader: c.leader, LeaderBrokerEpoch: 7, LeaderEpoch: 4, ISR: c.isr, ELR: c.elr}
		next, ok := p.Resigned(1, 9)
		got := ""
		if ok {
			got = fmt.Sprint(next.Leader, next.ISR, next.ELR)
			life := int64(7)
			if next.Leader < 0 {
				life = 9 // in which it is not elected, whichever life it led in
			}
			if (next.Leader != p.Leader) != (next.LeaderEpoch == 5) || next.LeaderBrokerEpoch != life {
				t.Errorf("%+v becomes %+v", p, next)
			}
		}
		if got != c.want {
			t.Errorf("%+v becomes %q, want %q", p, got, c.want)
		}
	}
}
