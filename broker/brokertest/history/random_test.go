package history

import (
	"bytes"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func fromEnv(t *testing.T, name string, usual uint64) uint64 {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		return usual
	}
	n, err := strconv.ParseUint(v, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// Of what a cluster does that keeps its promises nothing is reported, whatever its clients do; and a history is the same
// after it was written and read.
func TestCorrectHistories(t *testing.T) {
	first := fromEnv(t, "FIRN_SEED", uint64(time.Now().UnixNano()))
	t.Logf("seeds from %d (FIRN_SEED)", first)
	for seed := first; seed < first+fromEnv(t, "FIRN_TEST_HISTORIES", 150); seed++ {
		var lines bytes.Buffer
		h := newModel(seed, 1+int(seed%4), &lines).run(100 + int(seed%900))
		if r := Check(h); !r.Valid {
			t.Fatalf("seed %d: a correct history is %v", seed, r)
		}
		if seed%20 == 0 {
			readBack(t, h, &lines)
		}
	}
}

func readBack(t *testing.T, h *History, lines *bytes.Buffer) {
	t.Helper()
	back, err := Read(lines)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(h, back, cmpopts.EquateEmpty()); d != "" {
		t.Fatalf("read back: %s", d)
	}
	var again bytes.Buffer
	if err := back.Write(&again); err != nil {
		t.Fatal(err)
	}
	if back, err = Read(&again); err != nil || !cmp.Equal(h, back, cmpopts.EquateEmpty()) {
		t.Fatalf("written and read back: %v", err)
	}
}
