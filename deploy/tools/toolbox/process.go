package toolbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	// startTimeout is how long a server may take to answer: seconds on an idle machine, and tests
	// share theirs.
	startTimeout = 60 * time.Second
	// startTries bounds starts anew on other ports, for a port can be taken between choosing it and
	// listening on it.
	startTries = 5
	readyPoll  = 10 * time.Millisecond
	// keptOutput bounds the part of a server's output that a failing test shows.
	keptOutput = 64 << 10
)

// Place is a network of its own for a server: its only address there, and a program that becomes the server in it, such as
// nsenter, with its arguments.
type Place struct {
	Host string
	Via  []string
}

// Server describes a server process. Args and Ready get the free loopback ports chosen for it.
type Server struct {
	Path  string   // program; see Need
	Via   []string // of its Place, if it has one
	Env   []string // added to the test's own environment
	Ports int      // how many ports it needs
	Args  func(ports []int) []string
	// Ready returns nil once the server serves; until then it is asked every few milliseconds. Nobody waits if it is nil.
	Ready func(ctx context.Context, ports []int) error
}

// Process is a running Server. Its methods are for one goroutine at a time.
type Process struct {
	Ports []int

	spec   Server
	tb     testing.TB
	cmd    *exec.Cmd
	exited chan struct{} // closed once cmd was waited for
	output *tail
}

// Start runs a server and returns once it is ready. It is killed at the end of the test, and on Linux
// also when the test process dies in whatever way. A test that fails shows the end of its output.
func Start(tb testing.TB, spec Server) *Process {
	tb.Helper()
	p := &Process{spec: spec, tb: tb, output: &tail{}}
	tb.Cleanup(p.cleanup)
	var err error
	for range startTries {
		if p.Ports, err = freePorts(spec.Ports); err != nil {
			tb.Fatalf("choose ports for %s: %v", spec.Path, err)
		}
		if err = p.start(); err == nil {
			return p
		}
		if !errors.Is(err, errExited) {
			break
		}
	}
	tb.Fatalf("start %s: %v", spec.Path, err)
	return nil
}

// Pid is the process id of the running server.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Addr is the address of the i-th port.
func (p *Process) Addr(i int) string { return fmt.Sprintf("127.0.0.1:%d", p.Ports[i]) }

// Output is the end of what the server wrote so far, over all its starts.
func (p *Process) Output() string { return p.output.String() }

// Kill ends the server as a crash would (SIGKILL) and waits until it is gone.
func (p *Process) Kill() {
	p.tb.Helper()
	p.Signal(syscall.SIGKILL)
	<-p.exited
}

// Stop asks the server to end (SIGTERM), waits, and kills it if it does not.
func (p *Process) Stop() {
	p.tb.Helper()
	p.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(startTimeout):
		p.tb.Errorf("%s does not end on SIGTERM", p.spec.Path)
		p.Kill()
	}
}

// Signal sends a signal, say SIGSTOP or SIGCONT. A server that has ended already is no error.
func (p *Process) Signal(sig syscall.Signal) {
	p.tb.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.tb.Fatalf("signal %s: %v", p.spec.Path, err)
	}
}

// Restart starts a server that was killed or stopped again, with the same arguments and ports, and
// returns once it is ready.
func (p *Process) Restart() {
	p.tb.Helper()
	var err error
	for range startTries {
		if err = p.start(); err == nil || !errors.Is(err, errExited) {
			break
		}
	}
	if err != nil {
		p.tb.Fatalf("restart %s: %v", p.spec.Path, err)
	}
}

// errExited means that the server ended before it was ready, most often because its port was taken.
var errExited = errors.New("ended before it was ready")

func (p *Process) start() error {
	line := append(append(slices.Clone(p.spec.Via), p.spec.Path), p.spec.Args(p.Ports)...)
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Env = append(os.Environ(), p.spec.Env...)
	cmd.Stdout, cmd.Stderr = p.output, p.output
	cmd.SysProcAttr = dieWithParent()
	started := make(chan error)
	exited := make(chan struct{})
	go func() {
		// The kernel ties "die with the parent" to the thread that forked, so that thread stays.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is in its output; tests kill it on purpose
			close(exited)
		}
	}()
	if err := <-started; err != nil {
		return err
	}
	p.cmd, p.exited = cmd, exited
	return p.waitReady()
}

func (p *Process) waitReady() error {
	if p.spec.Ready == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	poll := time.NewTicker(readyPoll)
	defer poll.Stop()
	for {
		err := p.spec.Ready(ctx, p.Ports)
		select {
		case <-p.exited:
			// Whoever answered on that port, it was not ours.
			return errExited
		default:
		}
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not ready after %v: %w", startTimeout, err)
		case <-p.exited:
		case <-poll.C:
		}
	}
}

func (p *Process) cleanup() {
	if p.cmd != nil {
		p.Kill()
	}
	if p.tb.Failed() {
		p.tb.Logf("output of %s:\n%s", p.spec.Path, p.output.String())
	}
}

// HTTPReady is a Ready that asks for path on the first port until the answer is 200.
func HTTPReady(path string) func(context.Context, []int) error {
	return func(ctx context.Context, ports []int) error {
		return httpReady(ctx, fmt.Sprintf("127.0.0.1:%d", ports[0]), path)
	}
}

// HTTPReadyAt is HTTPReady for a server that listens on an address of its own.
func HTTPReadyAt(addr, path string) func(context.Context, []int) error {
	return func(ctx context.Context, _ []int) error { return httpReady(ctx, addr, path) }
}

func httpReady(ctx context.Context, addr, path string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+path, nil)
	if err != nil {
		return err
	}
	req.Close = true // leaves no idle connection for a leak check to find
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", path, resp.Status)
	}
	return nil
}

// freePorts returns n loopback ports that nobody listens on. They are held together while choosing,
// so that no two are the same.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// tail keeps the last part of what is written to it.
type tail struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf.Write(b)
	if over := t.buf.Len() - keptOutput; over > 0 {
		t.buf.Next(over)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.buf.String()
}
