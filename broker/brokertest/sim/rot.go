package sim

import (
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
)

// rotten is a disk that has forgotten a bit of what it has kept for a while, which shows when somebody reads it. Such a copy
// counts as lost for good.
func rotten(s *sim, rng *rand.Rand, m *machine) (func(), string) {
	sealed, _, err := m.segments()
	if err != nil {
		s.violation("broker %d: %v", m.id, err)
	}
	if len(sealed) == 0 || s.losesAtWill() || !s.mayLose(m, rot) {
		return nil, ""
	}
	s.losing(m, rot)
	name := sealed[rng.IntN(len(sealed))]
	at, err := m.flip(name, rng)
	if err != nil {
		s.violation("broker %d: %v", m.id, err)
	}
	return func() {}, fmt.Sprintf("%s at %d", name, at)
}

// losesAtWill says whether there is a topic for whose sake more than one machine may lose power.
func (s *sim) losesAtWill() bool {
	return slices.ContainsFunc(s.workloads, func(w workload) bool { return w.judged == synced })
}

// rottenAtRest stops all brokers in good order. Before the first of them starts again, which then may be the one to lead, a sector
// that it has kept of each log's last segment is lost. Where one copy is enough to be acknowledged that may have been the only one,
// and nobody gets past what is damaged of it.
func rottenAtRest(s *sim, rng *rand.Rand, m *machine) (func(), string) {
	alone := slices.ContainsFunc(s.workloads, func(w workload) bool { return w.judged == remains })
	if m.life == nil || !m.planned || alone || s.losesAtWill() || !s.mayLose(m, rot) {
		return nil, ""
	}
	s.losing(m, rot)
	var down []*machine
	for _, o := range s.machines {
		if o.goesDown() {
			o.life.stop()
			down = append(down, o)
		}
	}
	return func() {
		if m.hasStopped() {
			if err := m.loseSectors(rng); err != nil {
				s.violation("broker %d: %v", m.id, err)
			}
		}
		m.comesUp()
		for _, o := range down {
			if o != m {
				s.after(leftAlone, o.comesUp)
			}
		}
	}, fmt.Sprintf("%d are stopped", len(down))
}

// segments are the files of a machine's disks that are full segments, and those that are written to.
func (m *machine) segments() (sealed, active []string, err error) {
	for _, disk := range m.dirs {
		logs, err := m.fs.ReadDir(disk)
		if err != nil {
			return nil, nil, err
		}
		for _, log := range logs {
			if !log.IsDir() {
				continue
			}
			files, err := m.fs.ReadDir(path.Join(disk, log.Name()))
			if err != nil {
				return nil, nil, err
			}
			last := ""
			for _, f := range files { // by name, which is by offset
				if strings.HasSuffix(f.Name(), ".log") {
					if last != "" {
						sealed = append(sealed, last)
					}
					last = path.Join(disk, log.Name(), f.Name())
				}
			}
			if last != "" {
				active = append(active, last)
			}
		}
	}
	return sealed, active, nil
}

// change has a function say what becomes of a file's bytes, for good. It is not called for an empty one.
func (m *machine) change(name string, fn func(b []byte)) error {
	f, err := m.fs.OpenRW(name)
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil || size == 0 {
		return err
	}
	b := make([]byte, size)
	if _, err := f.ReadAt(b, 0); err != nil {
		return err
	}
	fn(b)
	if _, err := f.WriteAt(b, 0); err != nil {
		return err
	}
	return f.Sync()
}

// flip changes one bit of a file.
func (m *machine) flip(name string, rng *rand.Rand) (at int, err error) {
	err = m.change(name, func(b []byte) {
		at = rng.IntN(len(b))
		b[at] ^= 1 << rng.IntN(8)
	})
	return at, err
}

// sector is what a disk reads or loses as a whole.
const sector = 512

// loseSectors puts zeros in the place of one of the last sectors of each segment that is written to.
func (m *machine) loseSectors(rng *rand.Rand) error {
	_, active, err := m.segments()
	for _, name := range active {
		if err == nil {
			err = m.change(name, func(b []byte) {
				at := max(0, (len(b)-1)/sector-rng.IntN(4)) * sector
				clear(b[at:min(at+sector, len(b))])
			})
		}
	}
	return err
}
