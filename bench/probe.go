package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// Kinds of probes.
const (
	probeSink   = "sink"   // takes produce requests, checks CRC-32C, writes files
	probeSource = "source" // answers fetch requests from files
	probeSync   = "sync"   // appends and syncs without any client
	probeRelay  = "relay"  // reads objects and passes on what is in them
	probeGet    = "get"    // only reads objects
)

// probeHello is a probe's first line.
type probeHello struct {
	Addr string `json:"addr,omitempty"` // of those that serve
	// Bytes and Seconds are the result of those that do not.
	Bytes   int64   `json:"bytes,omitempty"`
	Seconds float64 `json:"seconds,omitempty"`
}

// RunProbe is the body of a probe's process. config is the JSON of the kind's configuration. It writes one
// line to out and, if the probe serves, goes on until in ends.
func RunProbe(ctx context.Context, kind string, config []byte, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var p interface {
		run(ctx context.Context, hello func(probeHello) error) error
	}
	switch kind {
	case probeSink:
		p = new(sink)
	case probeSource:
		p = new(source)
	case probeSync:
		p = new(rawSync)
	case probeRelay:
		p = new(relay)
	case probeGet:
		p = new(getter)
	default:
		return fmt.Errorf("unknown probe %q", kind)
	}
	if err := json.Unmarshal(config, p); err != nil {
		return fmt.Errorf("configuration of probe %s: %w", kind, err)
	}
	go func() {
		_, _ = io.Copy(io.Discard, in) // whoever started the probe holds the other end
		cancel()
	}()
	return p.run(ctx, func(h probeHello) error { return json.NewEncoder(out).Encode(h) })
}

// listenAndServe announces a listener on the loopback interface and serves it until ctx ends.
func listenAndServe(ctx context.Context, hello func(probeHello) error, serve func(context.Context, net.Listener) error) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if err := hello(probeHello{Addr: ln.Addr().String()}); err != nil {
		return errors.Join(err, ln.Close())
	}
	return serve(ctx, ln)
}

// acceptAll runs a goroutine for each client until ctx ends, and returns the first client's error.
func acceptAll(ctx context.Context, ln net.Listener, client func(net.Conn) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		conn, err := ln.Accept()
		if err != nil {
			if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
				return cause
			}
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			defer conn.Close()
			closed := context.AfterFunc(ctx, func() { _ = conn.Close() })
			defer closed()
			if err := client(conn); err != nil && ctx.Err() == nil {
				cancel(err)
			}
		}()
	}
}

// ignoreGone is nil for what a client does that leaves.
func ignoreGone(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		return nil
	}
	return err
}

// Probes starts probes as processes.
type Probes struct {
	// Command runs RunProbe with the kind and the configuration behind it as arguments.
	Command []string
	Stderr  io.Writer
}

// probeProcess is a probe that serves.
type probeProcess struct {
	probeHello
	cmd   *exec.Cmd
	stdin io.Closer
}

// start starts a probe and waits for its first line; env is added to this process's.
func (p Probes) start(ctx context.Context, kind string, config any, env ...string) (*probeProcess, error) {
	cfg, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	args := append(append([]string{}, p.Command[1:]...), kind, string(cfg))
	cmd := exec.CommandContext(ctx, p.Command[0], args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = p.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start probe %s: %w", kind, err)
	}
	pp := &probeProcess{cmd: cmd, stdin: stdin}
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &pp.probeHello)
	}
	if err != nil {
		return nil, fmt.Errorf("probe %s said nothing: %w", kind, errors.Join(err, pp.stop()))
	}
	return pp, nil
}

// once runs a probe that serves nobody and returns what it measured.
func (p Probes) once(ctx context.Context, kind string, config any, env ...string) (probeHello, error) {
	pp, err := p.start(ctx, kind, config, env...)
	if err != nil {
		return probeHello{}, err
	}
	return pp.probeHello, pp.stop()
}

// pid is 0 without a process.
func (pp *probeProcess) pid() int {
	if pp.cmd == nil {
		return 0
	}
	return pp.cmd.Process.Pid
}

// stopPatience is how long a process may take to end.
const stopPatience = 20 * time.Second

// stop ends the probe and waits for it.
func (pp *probeProcess) stop() error {
	_ = pp.stdin.Close()
	late := time.AfterFunc(stopPatience, func() { _ = pp.cmd.Process.Kill() })
	defer late.Stop()
	return pp.cmd.Wait()
}

// None reports whether there are no probes: then loads run alone.
func (p Probes) None() bool { return len(p.Command) == 0 }

// with runs fn beside a probe, or beside one without a process if there are none.
func (p Probes) with(ctx context.Context, kind string, config any, fn func(*probeProcess) error, env ...string) error {
	if p.None() {
		return fn(&probeProcess{})
	}
	pp, err := p.start(ctx, kind, config, env...)
	if err != nil {
		return err
	}
	err = fn(pp)
	if stopErr := pp.stop(); err == nil && stopErr != nil {
		err = fmt.Errorf("probe %s: %w", kind, stopErr)
	}
	return err
}

// serves returns run, or nil without a process behind the probe.
func (pp *probeProcess) serves(run func(context.Context, int) (Moved, error)) func(context.Context, int) (Moved, error) {
	if pp.cmd == nil {
		return nil
	}
	return run
}
