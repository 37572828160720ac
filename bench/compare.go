package bench

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Server is the broker under load and, if it runs on this machine, what is known of its process.
type Server struct {
	Cluster Cluster
	Pid     int    // 0 if it is not known
	Dir     string // where its files lie, "" if that is not known
}

// usage is the process's, or nothing if it is not known.
func (s Server) usage() (Usage, error) {
	if s.Pid == 0 {
		return Usage{}, nil
	}
	return ReadUsage(s.Pid)
}

// segments finds the log files of a topic's partitions below the server's directory. Firn has the topic's
// id and the partition in the names of directories, Kafka the topic's name and the partition; in both, files
// sort by their first offsets.
func (s Server) segments(ctx context.Context, topic string, partitions int) ([][]string, error) {
	id, err := s.Cluster.topicID(ctx, topic)
	if err != nil {
		return nil, err
	}
	hexID := hex.EncodeToString(id[:])
	files := make([][]string, partitions)
	err = filepath.WalkDir(s.Dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // brokers delete files at any time
		}
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".log") {
			return err
		}
		dir := filepath.Base(filepath.Dir(path))
		for p := range files {
			if n := strconv.Itoa(p); dir == topic+"-"+n || dir == hexID+"-"+n {
				files[p] = append(files[p], path)
			}
		}
		return nil
	})
	for p, list := range files {
		if len(list) == 0 && err == nil {
			err = fmt.Errorf("no log files of %s-%d below %s", topic, p, s.Dir)
		}
		slices.Sort(list)
	}
	return files, err
}

// coolDown has reads of the files come from the disk.
func coolDown(files [][]string) error {
	for _, list := range files {
		for _, name := range list {
			if err := dropCache(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// side is one of two that take turns.
type side struct {
	name string
	pid  int
	run  func(ctx context.Context, round int) (Moved, error)
}

// measured runs one side's turn, adds its throughput, its processor time and its memory to the section, and
// returns what was moved.
func (d side) measured(ctx context.Context, s *Section, round int) error {
	srv := Server{Pid: d.pid}
	before, err := srv.usage()
	if err != nil {
		return err
	}
	m, err := d.run(ctx, round)
	if err != nil {
		return fmt.Errorf("%s, round %d: %w", d.name, round+1, err)
	}
	after, err := srv.usage()
	if err != nil {
		return err
	}
	s.figure(d.name+" throughput", "MiB/s").add(m.Rate())
	if d.pid != 0 {
		s.figure(d.name+" CPU", "s/GiB").add(cpuPerGiB(before, after, m.Bytes))
		s.figure(d.name+" peak RSS", "MiB").add(float64(after.PeakRSS) / mib)
	}
	return nil
}

// takeTurns runs all sides round by round; those that have nothing to run are left out. The order turns
// with each round, for who comes later may find caches warm or a disk busy. Of warm memory there is as much as a side writes to files.
func takeTurns(ctx context.Context, s *Section, rounds int, settleDir string, writes int64, sides ...side) error {
	for round := range rounds {
		for i := range sides {
			d := sides[(i+round)%len(sides)]
			if d.run == nil {
				continue
			}
			if err := settle(settleDir); err != nil {
				return err
			}
			warm, err := holdWarm(writes)
			if err != nil {
				return err
			}
			err = errors.Join(d.measured(ctx, s, round), warm.release())
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// compare checks the ratio of two figures, if both were measured.
func (s *Section) compare(name, a, b string, limit float64, atMost bool) {
	fa, fb := s.figure(a, ""), s.figure(b, "")
	if len(fa.Rounds) > 0 && len(fb.Rounds) > 0 {
		s.check(name, "", ratios(fa, fb), limit, atMost)
	}
	s.Figures = slices.DeleteFunc(s.Figures, func(f *Figure) bool { return len(f.Rounds) == 0 })
}
