//go:build clients

package compat

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func init() {
	besides["kcat"] = func(_ *testing.T, bootstrap string) Client { return &kcatClient{bootstrap: bootstrap} }
}

// kcatClient is kcat as a client that knows no timestamps and commits by itself.
type kcatClient struct{ bootstrap string }

func (c *kcatClient) Close() {}

// running is a kcat with something to do.
type running struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Scanner
	errs bytes.Buffer
}

func (c *kcatClient) start(ctx context.Context, args ...string) (*running, error) {
	r := &running{cmd: exec.CommandContext(ctx, "kcat", append([]string{"-b", c.bootstrap, "-q"}, args...)...)}
	r.cmd.Stderr = &r.errs
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	r.out = bufio.NewScanner(out)
	if r.in, err = r.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	return r, r.cmd.Start()
}

func (r *running) wait() error {
	if err := r.cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(r.cmd.Args, " "), err, r.errs.String())
	}
	return nil
}

// kcatFormat is how records are printed that record reads.
const kcatFormat = "%p\t%o\t%k\t%s\n"

// record is the next one that a consumer has printed.
func (r *running) record() (Record, error) {
	if !r.out.Scan() {
		return Record{}, errors.Join(io.EOF, r.out.Err())
	}
	f := strings.Split(r.out.Text(), "\t")
	if len(f) != 4 {
		return Record{}, fmt.Errorf("kcat printed %q", f)
	}
	p, err := strconv.Atoi(f[0])
	o, err2 := strconv.ParseInt(f[1], 10, 64)
	return Record{Partition: int32(p), Offset: o, Key: f[2], Value: f[3]}, errors.Join(err, err2)
}

// Produce implements Client with one kcat per partition, for it takes one for all its records.
func (c *kcatClient) Produce(ctx context.Context, topic string, records []Record, gap time.Duration) error {
	to := map[int32]*running{}
	var errs []error
	began := time.Now()
	for i, r := range records {
		pace(began, gap, i)
		k := to[r.Partition]
		if k == nil {
			var err error
			if k, err = c.start(ctx, "-P", "-t", topic, "-p", strconv.Itoa(int(r.Partition)), "-K:", "-X", "enable.idempotence=true"); err != nil {
				return err
			}
			to[r.Partition] = k
		}
		if _, err := fmt.Fprintf(k.in, "%s:%s\n", r.Key, r.Value); err != nil {
			errs = append(errs, err)
			break
		}
	}
	for _, k := range to {
		errs = append(errs, k.in.Close())
	}
	for _, k := range to {
		errs = append(errs, k.wait())
	}
	return errors.Join(errs...)
}

// Read implements Client.
func (c *kcatClient) Read(ctx context.Context, topic string, partition int32, offset int64, n int) ([]Record, error) {
	k, err := c.start(ctx, "-C", "-t", topic, "-p", strconv.Itoa(int(partition)), "-o", strconv.FormatInt(offset, 10), "-c", strconv.Itoa(n), "-f", kcatFormat)
	if err != nil {
		return nil, err
	}
	var out []Record
	for len(out) < n && err == nil {
		var r Record
		if r, err = k.record(); err == nil {
			out = append(out, r)
		}
	}
	return out, errors.Join(err, k.wait())
}

// OffsetAt implements Client.
func (c *kcatClient) OffsetAt(context.Context, string, int32, time.Time) (int64, error) {
	return 0, errors.ErrUnsupported
}

// Join implements Client.
func (c *kcatClient) Join(_ context.Context, group, topic string) (Member, error) {
	k, err := c.start(context.Background(), "-G", group, "-u", "-f", kcatFormat, "-X", "auto.offset.reset=earliest", "-X", "heartbeat.interval.ms=100", topic)
	if err != nil {
		return nil, err
	}
	m := &kcatMember{k: k, records: make(chan Record), left: make(chan struct{})}
	m.reading.Go(func() {
		defer close(m.records)
		for {
			r, err := k.record()
			if err != nil {
				m.ended = errors.Join(err, k.wait())
				return
			}
			select {
			case m.records <- r:
			case <-m.left: // what it prints meanwhile is nobody's
			}
		}
	})
	return m, nil
}

type kcatMember struct {
	k       *running
	records chan Record
	reading sync.WaitGroup
	left    chan struct{}
	ended   error // why records is closed
}

func (m *kcatMember) Next(ctx context.Context) (Record, error) {
	select {
	case r, ok := <-m.records:
		if !ok {
			return r, m.ended
		}
		return r, nil
	case <-ctx.Done():
		return Record{}, context.Cause(ctx)
	}
}

func (m *kcatMember) Commit(context.Context) error { return nil }

func (m *kcatMember) Leave() {
	close(m.left)
	_ = m.k.cmd.Process.Signal(syscall.SIGINT)
	m.reading.Wait()
}
