package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// startPatience is how long a process may take to serve, or to stop.
const startPatience = 2 * time.Minute

// process is a server that a suite started.
type process struct {
	name string
	path string
	args []string
	env  []string
	log  string // file that it writes to

	cmd  *exec.Cmd
	done chan struct{}
	err  error // of Wait, once done is closed
}

// startProcess runs a program that writes to the file log.
func startProcess(name, path, log string, env []string, args ...string) (*process, error) {
	p := &process{name: name, path: path, args: args, env: env, log: log}
	return p, p.begin()
}

// begin starts the program, again if it has ended.
func (p *process) begin() error {
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command(p.path, p.args...)
	cmd.Env = append(os.Environ(), p.env...)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	done := make(chan struct{})
	p.cmd, p.done = cmd, done
	go func() {
		p.err = cmd.Wait()
		close(done)
	}()
	return nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// stop ends the process in its own time. Some programs end by the very signal that asks them to.
func (p *process) stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	late := time.NewTimer(startPatience)
	defer late.Stop()
	select {
	case <-p.done:
		var exit *exec.ExitError
		if errors.As(p.err, &exit) {
			if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signal() == syscall.SIGTERM {
				return nil
			}
		}
		return p.err
	case <-late.C:
		p.kill()
		return fmt.Errorf("%s did not stop within %v", p.name, startPatience)
	}
}

// kill ends the process at once.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// await polls url until it answers with 200.
func (p *process) await(ctx context.Context, url string, every time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	return poll(ctx, every, p.name, func() (bool, error) {
		select {
		case <-p.done:
			cancel()
			return false, fmt.Errorf("%s ended: %w", p.name, p.err)
		default:
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
		if err != nil {
			return false, err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return false, err
		}
		return resp.StatusCode == http.StatusOK, resp.Body.Close()
	})
}

// freeAddr returns an address of the loopback interface that nobody listens on now.
func freeAddr() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}

// node is a broker that a suite started.
type node struct {
	*process
	cluster Cluster
	console string // http://HOST:PORT
	dir     string
	began   time.Time
}

// server is the node as a comparison takes it.
func (n *node) server() Server { return Server{Cluster: n.cluster, Pid: n.pid(), Dir: n.dir} }

// launch starts a broker with free addresses and does not wait until it serves. subcommand is dev, with
// its data in dir, or broker.
func (s *Suite) launch(subcommand, dir string, env []string, args ...string) (*node, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	http, err := freeAddr()
	if err != nil {
		return nil, err
	}
	switch subcommand {
	case "dev":
		args = append([]string{"dev", "--data", dir, "--listen", addr, "--http", http}, args...)
	default:
		args = append([]string{subcommand, "--set", "listeners=PLAINTEXT://" + addr, "--set", "http.listen=" + http, "--set", "log.dirs=" + dir}, args...)
	}
	n := &node{cluster: Cluster{addr}, console: "http://" + http, dir: dir, began: time.Now()}
	n.process, err = startProcess("firn "+subcommand, s.Firn, filepath.Clean(dir)+".out", env, args...)
	return n, err
}

// start is launch and waits until the broker is ready.
func (s *Suite) start(ctx context.Context, subcommand, dir string, env []string, args ...string) (*node, error) {
	n, err := s.launch(subcommand, dir, env, args...)
	if err != nil {
		return nil, err
	}
	return n, n.ready(ctx)
}

// ready waits until the broker is, or kills it.
func (n *node) ready(ctx context.Context) error {
	if err := n.await(ctx, n.console+"/readyz", 20*time.Millisecond); err != nil {
		n.kill()
		return fmt.Errorf("%w; see %s", err, n.log)
	}
	return nil
}

// again starts a broker that has ended where it was, and waits until it is ready.
func (n *node) again(ctx context.Context) error {
	n.began = time.Now()
	if err := n.begin(); err != nil {
		return err
	}
	return n.ready(ctx)
}

// bucketServer is an S3 server that a suite started.
type bucketServer struct {
	*process
	tier string // URL for a broker
	env  []string
}

// Credentials of the server, which only listens to this machine and lives no longer than the run.
const (
	benchAccessKey = "firn-bench"
	benchSecretKey = "firn-bench-secret"
)

// startBucket starts MinIO with its data in dir. The environment gets the credentials.
func (s *Suite) startBucket(ctx context.Context, dir string) (*bucketServer, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	p, err := startProcess("minio", s.MinIO, filepath.Clean(dir)+".out", []string{
		"MINIO_ROOT_USER=" + benchAccessKey, "MINIO_ROOT_PASSWORD=" + benchSecretKey, "MINIO_UPDATE=off", "MINIO_BROWSER=off", "HOME=" + filepath.Clean(dir) + "-home",
	}, "server", dir, "--address", addr)
	if err != nil {
		return nil, err
	}
	if err := p.await(ctx, "http://"+addr+"/minio/health/ready", 50*time.Millisecond); err != nil {
		p.kill()
		return nil, err
	}
	return &bucketServer{
		process: p, tier: "minio://" + addr + "/firn-bench/tier?tls=false",
		env: []string{"MINIO_ACCESS_KEY=" + benchAccessKey, "MINIO_SECRET_KEY=" + benchSecretKey},
	}, nil
}
