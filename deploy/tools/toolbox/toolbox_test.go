package toolbox

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// The programs that are built in a module of their own take their version from its go.mod; the
// list, which names the cache directory, must say the same.
func TestVersionsAgreeWithModules(t *testing.T) {
	wants := map[string]string{
		"etcd":      "go.etcd.io/etcd/server/v3",
		"etcdctl":   "go.etcd.io/etcd/etcdctl/v3",
		"versitygw": "github.com/versity/versitygw",
	}
	seen := 0
	for _, c := range Components() {
		if !strings.HasPrefix(c.Package, "./") {
			continue
		}
		seen++
		module := strings.Split(c.Package, "/")[1]
		mod, err := os.ReadFile(filepath.Join("..", module, "go.mod"))
		if err != nil {
			t.Fatal(err)
		}
		if want := wants[c.Name] + " " + c.Version; !strings.Contains(string(mod), want) {
			t.Errorf("%s is pinned to %s, but %s/go.mod does not say %q", c.Name, c.Version, module, want)
		}
	}
	if seen != len(wants) {
		t.Errorf("%d programs are built in a module of their own, want %d", seen, len(wants))
	}
}

func TestFind(t *testing.T) {
	t.Setenv("FIRN_TOOLS", t.TempDir())
	if _, err := Find("etcd"); err == nil || !strings.Contains(err.Error(), "make tools") {
		t.Errorf("Find of a missing program: %v, want a hint to make tools", err)
	}
	if _, err := Find("nonesuch"); err == nil {
		t.Error("Find of an unknown program succeeded")
	}
	dir := filepath.Join(os.Getenv("FIRN_TOOLS"), "etcd-"+Components()[1].Version)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "etcd"), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if path, err := Find("etcd"); err != nil || path != filepath.Join(dir, "etcd") {
		t.Errorf("Find = %q, %v", path, err)
	}
}

// fakeTB records what Need does to a test.
type fakeTB struct {
	testing.TB
	verdict string
}

func (f *fakeTB) Helper()      {}
func (f *fakeTB) Fatal(...any) { f.verdict = "fatal" }
func (f *fakeTB) Skip(...any)  { f.verdict = "skip" }

func TestNeed(t *testing.T) {
	t.Setenv("FIRN_TOOLS", t.TempDir())
	for ci, want := range map[string]string{"": "skip", "true": "fatal"} {
		t.Setenv("CI", ci)
		var f fakeTB
		if Need(&f, "etcd"); f.verdict != want {
			t.Errorf("CI=%q: a missing program is %q, want %q", ci, f.verdict, want)
		}
	}
}

func TestProcessKillAndRestart(t *testing.T) {
	data := t.TempDir()
	p := Start(t, Server{
		Path:  Need(t, "minio"),
		Env:   []string{"MINIO_ROOT_USER=firnfirn", "MINIO_ROOT_PASSWORD=firnfirn", "MINIO_UPDATE=off", "MINIO_BROWSER=off"},
		Ports: 1,
		Args: func(ports []int) []string {
			return []string{"server", data, "--address", fmt.Sprintf("127.0.0.1:%d", ports[0])}
		},
		Ready: HTTPReady("/minio/health/ready"),
	})
	first := p.Pid()
	p.Kill()
	if err := HTTPReady("/minio/health/ready")(t.Context(), p.Ports); err == nil {
		t.Fatal("a killed server answers")
	}
	p.Restart()
	if p.Pid() == first {
		t.Error("restarted as the same process")
	}
	p.Stop()
	if err := syscall.Kill(p.Pid(), 0); err == nil {
		t.Error("a stopped server is still there")
	}
}
