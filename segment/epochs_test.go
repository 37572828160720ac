package segment

import (
	"errors"
	"slices"
	"syscall"
	"testing"

	"firn/segment/vfs"
	"firn/segment/vfs/faultfs"
)

// An epoch whose first batch could not be written has not begun: another leader may send batches of the one before.
func TestEpochOfAFailedAppendIsForgotten(t *testing.T) {
	var inject faultfs.Injector
	mem := vfs.NewMem()
	d := openDisk(t, faultfs.Wrap(mem, &inject))
	l := openLog(t, d, Options{})
	mustAppend(t, l, makeBatch(t, 0, 5, 10, 4))
	fault := inject.Add(faultfs.Rule{Op: faultfs.WriteV, Err: syscall.ENOSPC, Short: 100})
	if _, err := l.Append(batches(makeBatch(t, 5, 5, 10, 4), makeBatch(t, 10, 5, 10, 5))); !errors.Is(err, syscall.ENOSPC) || fault.Hits() == 0 {
		t.Fatal(err)
	}
	if _, err := l.Append(batches(makeBatch(t, 5, 5, 10, 4), makeBatch(t, 10, 2, 10, 4), makeBatch(t, 12, 3, 10, 6))); err != nil {
		t.Fatal(err)
	}
	want := []Epoch{{4, 0}, {6, 12}}
	if got := l.Epochs(); !slices.Equal(got, want) {
		t.Errorf("epochs %v, want %v", got, want)
	}
	if err := d.Close(false); err != nil {
		t.Fatal(err)
	}
	l = openLog(t, openDisk(t, mem), Options{})
	if got := l.Epochs(); !slices.Equal(got, want) || l.Next() != 15 {
		t.Errorf("after a kill: epochs %v, want %v, end %d", got, want, l.Next())
	}
}
