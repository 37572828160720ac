package broker

import (
	"testing"

	"firn/tiering/manifest"
)

// Whatever a head holds stays, and writers of earlier epochs are refused from then on.
func TestFencedTierHeads(t *testing.T) {
	for _, value := range [][]byte{nil, manifest.Head{LogStart: 5, TierEnd: 9, TierEndEpoch: 1, WriterEpoch: 2}.Encode()} {
		fenced, err := fenceTier(value, 4)
		if err != nil {
			t.Fatal(err)
		}
		h, err := manifest.DecodeHead(fenced)
		if err != nil || h.WriterEpoch != 4 || value != nil && (h.LogStart != 5 || h.TierEnd != 9) {
			t.Fatalf("%+v, %v", h, err)
		}
		if _, err := manifest.Apply(h, 3, manifest.Fence{}); err == nil {
			t.Error("a writer of an earlier epoch goes on")
		}
	}
	if _, err := fenceTier([]byte("x"), 4); err == nil {
		t.Error("what is no head was fenced")
	}
}
