package segment

import (
	"crypto/rand"
	"errors"
	"sync"

	"firn/segment/vfs"
)

// spareBytes is what a disk keeps back. It takes the state of a log of 6,000 segments.
const spareBytes = 256 << 10

// spare is a file that holds room for a disk that others have filled to its last block: what lets a broker start and what
// is to free space replaces small files, which needs some first.
type spare struct {
	mu    sync.Mutex
	there bool
}

// load makes the file if it is not there.
func (s *spare) load(d *Disk) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, err := d.fs.Stat(d.file(spareName))
	if s.there = err == nil && i.Size() == spareBytes; !s.there {
		s.makeLocked(d)
	}
}

// makeLocked makes the file if there is room. If there is none, there will be another time.
func (s *spare) makeLocked(d *Disk) {
	b := make([]byte, spareBytes)
	rand.Read(b) // what a file system can compress holds no room
	if err := d.judge(vfs.WriteAtomic(d.fs, d.file(spareName), b)); err != nil {
		d.logger.Warn("no room is kept back", "dir", d.dir, "error", err)
		return
	}
	s.there = true
}

// keep makes the file anew if it had to be given up.
func (s *spare) keep(d *Disk) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.there && d.Offline() == nil {
		s.makeLocked(d)
	}
}

// have reports whether there is room kept back, for what must not stop halfway for want of it.
func (s *spare) have(d *Disk) bool {
	s.keep(d)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.there
}

// spend calls write, and if there is no room for it once more without the file, which is made anew of what that has
// freed or left.
func (s *spare) spend(d *Disk, write func() error) error {
	err := write()
	if !noRoom(err) || errors.Is(err, vfs.ErrUncertain) {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.there || d.Offline() != nil || d.fs.Remove(d.file(spareName)) != nil {
		return err
	}
	s.there = false
	err = write()
	s.makeLocked(d)
	return err
}
