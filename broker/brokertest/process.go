// Package brokertest runs real firn processes for tests: started, killed, started again.
//
// What belongs here: the life of a process and what can be seen from outside. What does not: what is
// inside a broker; this package imports nothing of it, so that the clients' module can use it, too.
package brokertest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Process is a firn process. Its methods belong to one goroutine.
type Process struct {
	Bootstrap string // host:port for clients, the same after a restart
	Console   string // http://host:port, another one after a restart
	Dir       string // what --data names

	tb      testing.TB
	opts    Options
	command string // dev or broker
	cmd     *exec.Cmd
	screen  *screen
	done    chan error
}

// Options say how a process is started.
type Options struct {
	Dir  string   // for all data; a directory of the test's own if empty
	Args []string // after those that every process gets
	Env  []string // NAME=value, added to the test's own
	Host string   // the address it listens on; that of the loopback if empty
	Via  []string // a program that becomes firn, such as nsenter, with its arguments before those of firn; none if empty
	Log  string   // a file for what it logs; one of the test's own if empty
}

// patience is how long a process may take to start or to end on a busy machine.
const patience = 2 * time.Minute

// Binary builds firn once, or takes what FIRN_BIN names.
var Binary = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("FIRN_BIN"); path != "" {
		return path, nil
	}
	_, self, _, _ := runtime.Caller(0)
	root := filepath.Join(filepath.Dir(self), "..", "..")
	path := filepath.Join(root, "bin", "firn-under-test")
	cmd := exec.Command("go", "build", "-o", path, "./cmd/firn")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // as it is shipped
	if os.Getenv("FIRN_RACE") != "" {
		cmd = exec.Command("go", "build", "-race", "-o", path, "./cmd/firn")
	}
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build firn: %w\n%s", err, out)
	}
	return path, nil
})

// Start runs firn dev in a directory of the test's own, with a directory as bucket unless args say
// otherwise, until the test ends, and waits until it is ready.
func Start(tb testing.TB, args ...string) *Process {
	tb.Helper()
	return StartIn(tb, tb.TempDir(), args...)
}

// StartIn is Start with a data directory.
func StartIn(tb testing.TB, dir string, args ...string) *Process {
	tb.Helper()
	return StartDev(tb, Options{Dir: dir, Args: args})
}

// StartDev is Start with all options.
func StartDev(tb testing.TB, o Options) *Process {
	tb.Helper()
	return begin(tb, "dev", o)
}

// StartBroker runs firn broker with node.id 1 on the etcd at endpoint, without a tier unless args say otherwise,
// until the test ends, and waits until it is ready.
func StartBroker(tb testing.TB, endpoint string, o Options) *Process {
	tb.Helper()
	o.Args = append([]string{"--set", "node.id=1", "--set", "etcd.endpoints=" + endpoint}, o.Args...)
	return begin(tb, "broker", o)
}

func begin(tb testing.TB, command string, o Options) *Process {
	tb.Helper()
	if o.Dir == "" {
		o.Dir = tb.TempDir()
	}
	o.Host = cmp.Or(o.Host, "127.0.0.1")
	if o.Log == "" {
		o.Log = filepath.Join(tb.TempDir(), "firn.log")
	}
	p := &Process{tb: tb, Dir: o.Dir, Bootstrap: o.Host + ":0", command: command, opts: o}
	tb.Cleanup(func() {
		if p.cmd != nil {
			p.Stop()
		}
		if tb.Failed() {
			tb.Logf("end of firn's log:\n%s", p.Log())
		}
	})
	p.Restart()
	return p
}

// Restart starts the process again on its data and its port, and waits until it is ready.
func (p *Process) Restart() {
	p.tb.Helper()
	p.Launch()
	p.Await()
}

// Launch is Restart without the wait: of a broker whose etcd is away nobody knows when it will be ready.
func (p *Process) Launch() {
	p.tb.Helper()
	if err := p.launch(); err != nil {
		p.tb.Fatal(err)
	}
}

// Await waits until a process that was launched is ready.
func (p *Process) Await() {
	p.tb.Helper()
	if err := p.findAddresses(); err != nil {
		p.tb.Fatalf("%v\n%s", err, p.Log())
	}
	p.Eventually("firn is ready", p.Ready)
}

// Ready is what the console answers to whether the broker is ready.
func (p *Process) Ready() (bool, error) {
	resp, err := http.Get(p.Console + "/readyz")
	if err != nil {
		return false, err
	}
	defer func() { _ = resp.Body.Close() }()
	return resp.StatusCode == http.StatusOK, nil
}

// Run runs firn with args until it ends by itself and returns what it wrote and its exit code.
func Run(tb testing.TB, args ...string) (out string, code int) {
	tb.Helper()
	bin, err := Binary()
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	b, err := exec.CommandContext(ctx, bin, args...).CombinedOutput()
	var exit *exec.ExitError
	if ctx.Err() != nil || err != nil && !errors.As(err, &exit) {
		tb.Fatalf("firn %s did not end well: %v\n%s", strings.Join(args, " "), err, b)
	}
	if exit != nil {
		code = exit.ExitCode()
	}
	return string(b), code
}

var address = regexp.MustCompile(`\d+\.\d+\.\d+\.\d+:\d+`)

// line is the command line. What clients and people are told is on a port of the system's choosing at first, and
// on the same one after a restart.
func (p *Process) line() []string {
	if p.command == "broker" {
		return append([]string{
			"broker", "--set", "log.dirs=" + p.Dir, "--set", "listeners=PLAINTEXT://" + p.Bootstrap,
			"--set", "http.listen=" + p.opts.Host + ":0",
		}, p.opts.Args...)
	}
	return append([]string{"dev", "--data", p.Dir, "--listen", p.Bootstrap, "--http", p.opts.Host + ":0"}, p.opts.Args...)
}

func (p *Process) launch() error {
	bin, err := Binary()
	if err != nil {
		return err
	}
	line := append(append(slices.Clone(p.opts.Via), bin), p.line()...)
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Env = append(os.Environ(), p.opts.Env...)
	logs, err := os.OpenFile(p.opts.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	p.screen = &screen{found: make(chan []string, 1)}
	cmd.Stdout, cmd.Stderr = p.screen, logs
	if p.command == "broker" { // it has no first screen but logs a line
		p.screen.only = "msg=ready"
		cmd.Stdout, cmd.Stderr = nil, io.MultiWriter(logs, p.screen)
	}
	if err := cmd.Start(); err != nil {
		_ = logs.Close()
		return err
	}
	p.cmd, p.done = cmd, make(chan error, 1)
	done := p.done
	go func() {
		err := cmd.Wait()
		_ = logs.Close()
		done <- err
	}()
	return nil
}

// findAddresses waits until the process has shown them.
func (p *Process) findAddresses() error {
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	select {
	case found := <-p.screen.found:
		p.Bootstrap, p.Console = found[0], "http://"+found[1]
		return nil
	case err := <-p.done:
		p.cmd = nil
		return fmt.Errorf("firn ended before it served: %w", err)
	case <-timeout.C:
		return errors.New("firn showed no addresses")
	}
}

// screen looks for the addresses of a process in what it writes: that for clients, then that of the console.
type screen struct {
	only  string // look at lines with this alone
	rest  []byte // of a line that is not whole yet
	addrs []string
	found chan []string
}

// Write implements io.Writer.
func (s *screen) Write(b []byte) (int, error) {
	if len(s.addrs) >= 2 {
		return len(b), nil
	}
	s.rest = append(s.rest, b...)
	for len(s.addrs) < 2 {
		line, rest, whole := bytes.Cut(s.rest, []byte("\n"))
		if !whole {
			break
		}
		s.rest = rest
		if !strings.Contains(string(line), s.only) {
			continue
		}
		for _, a := range address.FindAllString(string(line), -1) {
			if len(s.addrs) < 2 && !slices.Contains(s.addrs, a) {
				s.addrs = append(s.addrs, a)
			}
		}
		if len(s.addrs) == 2 {
			s.found <- s.addrs
		}
	}
	return len(b), nil
}

// Pid is the running process's id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Ended reports whether the process has ended by itself since it was last looked at.
func (p *Process) Ended() bool {
	if p.cmd == nil {
		return false
	}
	select {
	case <-p.done: //nolint:errcheck // how, is in its log
		p.cmd = nil
		return true
	default:
		return false
	}
}

// Kill ends the process as kill -9 does. It may have ended by itself, as one whose disks have failed does.
func (p *Process) Kill() {
	p.tb.Helper()
	if p.cmd == nil {
		return
	}
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.tb.Fatal(err)
	}
	<-p.done //nolint:errcheck // it was killed
	p.cmd = nil
}

// Signal sends a signal, such as SIGSTOP.
func (p *Process) Signal(sig syscall.Signal) {
	p.tb.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.tb.Fatal(err)
	}
}

// Stop ends the process as Ctrl-C does and fails the test if it does not end well.
func (p *Process) Stop() {
	p.tb.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGINT)
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	select {
	case err := <-p.done:
		if err != nil {
			p.tb.Errorf("firn ended with %v", err)
		}
	case <-timeout.C:
		p.tb.Error("firn did not stop; goroutines are in its log")
		_ = p.cmd.Process.Signal(syscall.SIGQUIT)
		<-p.done //nolint:errcheck // it was made to end
	}
	p.cmd = nil
}

// Log is the end of what the process has logged.
func (p *Process) Log() string {
	const most = 30_000
	b, _ := os.ReadFile(p.opts.Log)
	if len(b) > most {
		b = b[len(b)-most:]
	}
	return string(b)
}

// Eventually waits until ok, which looks at something outside of this process that tells nobody when it
// changes.
func (p *Process) Eventually(what string, ok func() (bool, error)) {
	p.tb.Helper()
	Eventually(p.tb, what, ok)
}

// Eventually waits until ok says yes, and fails the test if it does not for long.
func Eventually(tb testing.TB, what string, ok func() (bool, error)) {
	tb.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		yes, err := ok()
		if yes {
			return
		}
		select {
		case <-timeout.C:
			tb.Fatalf("not within %v: %s (last error: %v)", patience, what, err)
		case <-tick.C:
		}
	}
}
