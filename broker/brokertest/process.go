// Package brokertest runs real firn processes for tests: started, killed, started again.
//
// What belongs here: the life of a process and what can be seen from outside. What does not: what is
// inside a broker; this package imports nothing of it, so that the clients' module can use it, too.
package brokertest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
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

	tb   testing.TB
	args []string
	cmd  *exec.Cmd
	logs string
	done chan error
}

// patience is how long a process may take to start or to end on a busy machine.
const patience = 60 * time.Second

// Binary builds firn once, or takes what FIRN_BIN names.
var Binary = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("FIRN_BIN"); path != "" {
		return path, nil
	}
	_, self, _, _ := runtime.Caller(0)
	root := filepath.Join(filepath.Dir(self), "..", "..")
	path := filepath.Join(root, "bin", "firn-under-test")
	args := []string{"build", "-o", path}
	if os.Getenv("FIRN_RACE") != "" {
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, "./cmd/firn")...)
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
	p := &Process{tb: tb, Dir: dir, Bootstrap: "127.0.0.1:0", args: args, logs: filepath.Join(tb.TempDir(), "firn.log")}
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
	if err := p.start(); err != nil {
		p.tb.Fatalf("%v\n%s", err, p.Log())
	}
	p.Eventually("firn is ready", func() (bool, error) {
		resp, err := http.Get(p.Console + "/readyz")
		if err != nil {
			return false, err
		}
		defer func() { _ = resp.Body.Close() }()
		return resp.StatusCode == http.StatusOK, nil
	})
}

// Try starts a second process with the same settings and returns how it ended, with what it wrote. It
// is for processes that must refuse to start.
func (p *Process) Try(args ...string) (string, error) {
	p.tb.Helper()
	bin, err := Binary()
	if err != nil {
		p.tb.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, bin, args...).CombinedOutput()
	if ctx.Err() != nil {
		p.tb.Fatalf("firn %s did not end\n%s", strings.Join(args, " "), out)
	}
	return string(out), err
}

var address = regexp.MustCompile(`127\.0\.0\.1:\d+`)

func (p *Process) start() error {
	bin, err := Binary()
	if err != nil {
		return err
	}
	args := append([]string{"dev", "--data", p.Dir, "--listen", p.Bootstrap, "--http", "127.0.0.1:0"}, p.args...)
	cmd := exec.Command(bin, args...)
	logs, err := os.OpenFile(p.logs, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = logs.Close() }()
	cmd.Stderr = logs
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	p.cmd, p.done = cmd, make(chan error, 1)
	done, screen := p.done, make(chan []string, 1)
	go func() {
		sc := bufio.NewScanner(out)
		var found []string
		for sc.Scan() { // to the end, so that the pipe never fills
			told := distinct(found) >= 2
			found = append(found, address.FindAllString(sc.Text(), -1)...)
			if !told && distinct(found) >= 2 {
				screen <- found
			}
		}
		done <- cmd.Wait()
	}()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	select {
	case found := <-screen:
		p.Bootstrap = found[0]
		for _, a := range found {
			if a != p.Bootstrap {
				p.Console = "http://" + a
			}
		}
		return nil
	case err := <-p.done:
		p.cmd = nil
		return fmt.Errorf("firn ended before it served: %w", err)
	case <-timeout.C:
		return errors.New("firn showed no addresses")
	}
}

func distinct(list []string) int {
	seen := map[string]bool{}
	for _, s := range list {
		seen[s] = true
	}
	return len(seen)
}

// Pid is the running process's id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Kill ends the process as kill -9 does. It may have ended by itself, as one whose disks have failed does.
func (p *Process) Kill() {
	p.tb.Helper()
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.tb.Fatal(err)
	}
	<-p.done
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
		<-p.done
	}
	p.cmd = nil
}

// Log is the end of what the process has logged.
func (p *Process) Log() string {
	const most = 30_000
	b, _ := os.ReadFile(p.logs)
	if len(b) > most {
		b = b[len(b)-most:]
	}
	return string(b)
}

// Tier is what the console says of a partition in both tiers.
type Tier struct {
	Partition     int32 `json:"partition"`
	LogStart      int64 `json:"log_start"`
	LocalStart    int64 `json:"local_start"`
	TieredEnd     int64 `json:"tiered_end"`
	HighWatermark int64 `json:"high_watermark"`
	End           int64 `json:"end"`
	LagBytes      int64 `json:"lag_bytes"`
}

// Tiers returns the state of a topic's partitions, by number.
func (p *Process) Tiers(topic string) ([]Tier, error) {
	resp, err := http.Get(p.Console + "/v1/tier?topic=" + url.QueryEscape(topic))
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("console: %s", resp.Status)
	}
	var list []Tier
	return list, json.NewDecoder(resp.Body).Decode(&list)
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
