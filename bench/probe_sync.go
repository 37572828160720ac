package bench

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"
)

// rawSync appends to one fresh file and makes each piece durable before the next: what a disk gives one
// writer that promises anything.
type rawSync struct {
	Dir   string
	Bytes int64
	Piece int // bytes
}

func (r *rawSync) run(_ context.Context, hello func(probeHello) error) error {
	buf := make([]byte, r.Piece)
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range buf {
		buf[i] = byte(rnd.Uint32())
	}
	f, err := os.Create(filepath.Join(r.Dir, "raw-sync"))
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	began, n := time.Now(), int64(0)
	for n < r.Bytes {
		if _, err := f.WriteAt(buf, n); err != nil {
			return err
		}
		if err := datasync(f); err != nil {
			return err
		}
		n += int64(len(buf))
	}
	return hello(probeHello{Bytes: n, Seconds: time.Since(began).Seconds()})
}
