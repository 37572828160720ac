//go:build root && linux

package main

import (
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"firn/deploy/tools/toolbox"
)

// world is a network that only one test is in: hosts in network namespaces of their own, all joined to one switch, where the
// test is, too. It ends with the namespaces that deploy/tests/own.sh has made around the test, however that ends.
type world struct {
	t    *testing.T
	here *host // the test itself
	size int

	cuts map[wire]int // how often each is cut
}

// wire is one direction between two hosts, and what happens there to packets: the name of a set in hostRules.
type wire struct {
	from, to *host
	set      string
}

// host is a machine of a world, as far as processes can tell: an address, a network, and a run of the kernel.
type host struct {
	w      *world
	name   string
	addr   string
	enter  []string // becomes what follows, in the host's network
	bootID string   // the file that its processes read as the kernel's
}

// What each host does with packets from others: those from some are lost, those from others refused.
const hostRules = `table inet cuts {
	set lost { type ipv4_addr; }
	set refused { type ipv4_addr; }
	chain arriving {
		type filter hook input priority 0;
		ip saddr @lost drop
		meta l4proto tcp ip saddr @refused reject with tcp reset
	}
}
`

func newWorld(t *testing.T) *world {
	t.Helper()
	needOwnNetwork(t)
	w := &world{t: t, cuts: map[wire]int{}}
	w.here = &host{w: w, name: "clients", addr: "10.88.0.1"}
	w.run("ip", "link", "add", "switch", "type", "bridge")
	t.Cleanup(func() { w.run("ip", "link", "del", "switch") })
	w.run("ip", "addr", "add", w.here.addr+"/24", "dev", "switch")
	w.run("ip", "link", "set", "switch", "up")
	w.here.nft(hostRules)
	t.Cleanup(func() { w.here.nft("delete table inet cuts\n") })
	return w
}

// add makes a host.
func (w *world) add(name string) *host {
	w.t.Helper()
	w.size++
	n := &host{w: w, name: name, addr: fmt.Sprintf("10.88.0.%d", w.size+1), bootID: filepath.Join(w.t.TempDir(), "boot_id")}
	holder := exec.Command("sleep", "infinity")
	holder.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if err := holder.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		_ = holder.Process.Kill()
		_ = holder.Wait()
	})
	pid := fmt.Sprint(holder.Process.Pid)
	n.enter = []string{"nsenter", "--net=/proc/" + pid + "/ns/net"}
	port := fmt.Sprintf("port%d", w.size)
	w.run("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", pid)
	w.run("ip", "link", "set", port, "master", "switch", "up")
	n.run("ip", "link", "set", "lo", "up")
	n.run("ip", "addr", "add", n.addr+"/24", "dev", "eth0")
	n.run("ip", "link", "set", "eth0", "up")
	n.nft(hostRules)
	n.reboot()
	return n
}

// reboot lets the processes that are started from now on see another run of the kernel: one whose page cache is empty.
func (n *host) reboot() {
	n.w.t.Helper()
	if err := os.WriteFile(n.bootID, []byte(rand.Text()+"\n"), 0o600); err != nil {
		n.w.t.Fatal(err)
	}
}

// place is for servers to be run on the host.
func (n *host) place() toolbox.Place {
	return toolbox.Place{Host: n.addr, Via: append(n.enter[:len(n.enter):len(n.enter)],
		"unshare", "--mount", "--propagation", "slave",
		"sh", "-c", `mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@"`, n.bootID)}
}

func (w *world) run(name string, args ...string) {
	w.t.Helper()
	w.here.run(name, args...)
}

func (n *host) run(name string, args ...string) {
	n.w.t.Helper()
	n.feed("", name, args...)
}

func (n *host) nft(rules string) {
	n.w.t.Helper()
	n.feed(rules, "nft", "-f", "-")
}

// feed runs a program on the host and gives it input.
func (n *host) feed(input, name string, args ...string) {
	n.w.t.Helper()
	line := append(append(n.enter[:len(n.enter):len(n.enter)], name), args...)
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Stdin = strings.NewReader(input)
	if out, err := cmd.CombinedOutput(); err != nil {
		n.w.t.Fatalf("on %s, %v: %v\n%s%s", n.name, line, err, input, out)
	}
}

// cut has what is sent from one host to another be "lost" or "refused", until it is healed as often as it was cut.
func (w *world) cut(from, to *host, set string) (heal func()) {
	w.t.Helper()
	c := wire{from, to, set}
	if w.cuts[c]++; w.cuts[c] == 1 {
		to.nft("add element inet cuts " + set + " { " + from.addr + " }\n")
	}
	return sync.OnceFunc(func() {
		if w.cuts[c]--; w.cuts[c] == 0 {
			to.nft("delete element inet cuts " + set + " { " + from.addr + " }\n")
		}
	})
}
