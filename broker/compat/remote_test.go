//go:build clients

package compat

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Clients of other languages are programs that read one JSON command a line and answer each with one JSON
// line; java/, python/ and node/ hold them. The environment says how to start them; run.sh sets it. A member
// of a group is a program of its own.
func init() {
	for _, name := range []string{"java", "confluent-kafka-python", "kafka-python", "kafkajs"} {
		makers[name] = func(t *testing.T, bootstrap string) Client { return newRemote(t, name, bootstrap) }
	}
}

type wireRecord struct {
	P int32  `json:"p"`
	O int64  `json:"o"`
	T int64  `json:"t"`
	K string `json:"k"`
	V string `json:"v"`
}

type command struct {
	Op        string           `json:"op"`
	Topic     string           `json:"topic,omitempty"`
	Group     string           `json:"group,omitempty"`
	Partition int32            `json:"p"`
	Offset    int64            `json:"offset"`
	Time      int64            `json:"t"`
	N         int              `json:"n"`
	Millis    int64            `json:"ms"`
	Records   []wireRecord     `json:"records,omitempty"`
	Offsets   map[string]int64 `json:"offsets,omitempty"`
}

type answer struct {
	Error   string       `json:"error"`
	Offset  int64        `json:"offset"`
	Records []wireRecord `json:"records"`
}

type remote struct {
	t         *testing.T
	name      string
	bootstrap string
	mu        sync.Mutex // one command at a time
	cmd       *exec.Cmd
	in        io.WriteCloser
	out       *bufio.Reader
}

func newRemote(t *testing.T, name, bootstrap string) *remote {
	t.Helper()
	env := "FIRN_CLIENT_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
	line := os.Getenv(env)
	if line == "" {
		t.Fatalf("%s is not set: run broker/compat/run.sh", env)
	}
	args := append(strings.Fields(line), bootstrap)
	r := &remote{t: t, name: name, bootstrap: bootstrap, cmd: exec.Command(args[0], args[1:]...)}
	r.cmd.Stderr = os.Stderr
	r.cmd.Env = append(os.Environ(), "PYTHONFAULTHANDLER=1") // for who is aborted to say where it was
	var err error
	if r.in, err = r.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	r.out = bufio.NewReaderSize(out, 1<<20)
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func (r *remote) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cmd == nil {
		return
	}
	_ = r.in.Close()
	ended := make(chan struct{})
	go func(c *exec.Cmd) {
		defer close(ended)
		_ = c.Wait() // a program whose input ends may leave with any code
	}(r.cmd)
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		_ = r.cmd.Process.Kill()
		<-ended
	}
	r.cmd = nil
}

// do has the program do something, and aborts it if that is not done by ctx's deadline.
func (r *remote) do(ctx context.Context, c command) (answer, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cmd == nil {
		return answer{}, errors.New("program has ended")
	}
	program := r.cmd.Process
	defer context.AfterFunc(ctx, func() {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			_ = program.Signal(syscall.SIGABRT)
		}
	})()
	b, err := json.Marshal(c)
	if err != nil {
		return answer{}, err
	}
	if _, err := r.in.Write(append(b, '\n')); err != nil {
		return answer{}, err
	}
	line, err := r.out.ReadBytes('\n')
	if err != nil {
		return answer{}, fmt.Errorf("%s: %w", c.Op, errors.Join(err, ctx.Err()))
	}
	var a answer
	if err := json.Unmarshal(line, &a); err != nil {
		return answer{}, fmt.Errorf("%s: %w in %q", c.Op, err, line)
	}
	if a.Error != "" {
		return a, fmt.Errorf("%s: %s", c.Op, a.Error)
	}
	return a, nil
}

func fromWire(rs []wireRecord) []Record {
	out := make([]Record, len(rs))
	for i, r := range rs {
		out[i] = Record{Partition: r.P, Offset: r.O, Time: time.UnixMilli(r.T), Key: r.K, Value: r.V}
	}
	return out
}

func (r *remote) Produce(ctx context.Context, topic string, records []Record, gap time.Duration) error {
	c := command{Op: "produce", Topic: topic, Millis: gap.Milliseconds()}
	for _, rec := range records {
		c.Records = append(c.Records, wireRecord{P: rec.Partition, T: rec.Time.UnixMilli(), K: rec.Key, V: rec.Value})
	}
	_, err := r.do(ctx, c)
	return err
}

func (r *remote) Read(ctx context.Context, topic string, partition int32, offset int64, n int) ([]Record, error) {
	a, err := r.do(ctx, command{Op: "read", Topic: topic, Partition: partition, Offset: offset, N: n})
	return fromWire(a.Records), err
}

func (r *remote) OffsetAt(ctx context.Context, topic string, partition int32, at time.Time) (int64, error) {
	a, err := r.do(ctx, command{Op: "offset", Topic: topic, Partition: partition, Time: at.UnixMilli()})
	return a.Offset, err
}

func (r *remote) Join(ctx context.Context, group, topic string) (Member, error) {
	m := &remoteMember{r: newRemote(r.t, r.name, r.bootstrap), read: map[string]int64{}}
	_, err := m.r.do(ctx, command{Op: "join", Group: group, Topic: topic})
	return m, err
}

type remoteMember struct {
	r    *remote
	have []Record
	read map[string]int64 // partition to the next offset
}

func (m *remoteMember) Next(ctx context.Context) (Record, error) {
	for len(m.have) == 0 {
		if err := ctx.Err(); err != nil {
			return Record{}, err
		}
		a, err := m.r.do(ctx, command{Op: "next", Millis: 200})
		if err != nil {
			return Record{}, err
		}
		m.have = fromWire(a.Records)
	}
	r := m.have[0]
	m.have = m.have[1:]
	m.read[fmt.Sprint(r.Partition)] = r.Offset + 1
	return r, nil
}

func (m *remoteMember) Commit(ctx context.Context) error {
	_, err := m.r.do(ctx, command{Op: "commit", Offsets: m.read})
	return err
}

func (m *remoteMember) Leave() { m.r.Close() }
