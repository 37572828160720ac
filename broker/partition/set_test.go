package partition

import (
	"errors"
	"syscall"
	"testing"

	"firn/segment"
	"firn/segment/vfs"
)

// A log that could not be opened for want of space is opened once there is some; one that is damaged stays as it is.
func TestLogIsOpenedOnceThereIsSpace(t *testing.T) {
	fs := vfs.NewMem()
	g := newRig(t, fs)
	u, err := fs.Usage("/data")
	if err != nil {
		t.Fatal(err)
	}
	fs.SetCapacity(u.Total - u.Free)
	r, err := g.set.Open(testTP, "test", durableConfig())
	if !errors.Is(err, syscall.ENOSPC) || !r.Reopens() {
		t.Fatalf("without space: %v, reopens %v", err, r.Reopens())
	}
	if again, err := g.set.Open(testTP, "test", durableConfig()); !errors.Is(err, syscall.ENOSPC) || again == r {
		t.Errorf("without space, once more: %v", err)
	}
	fs.SetCapacity(0)
	r = g.lead(durableConfig())
	appendOK(t, r, records(t, 1, "v"))
	if again := g.open(testTP, durableConfig()); again != r || r.Reopens() {
		t.Error("one that is open was opened again")
	}
	if brokenReplica(g, segment.ErrCorrupt).Reopens() {
		t.Error("one that is damaged is opened again")
	}
}
