//go:build root && linux

package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"firn/broker/brokertest"
	"firn/metadata/kvtest"
	"firn/tiering/objstore/objtest"
)

// direction is what a cut network loses of the packets of a server.
type direction int

const (
	both direction = iota
	requests
	answers
)

// cut loses packets to and from the server at addr without a word, as a broken network does: connections stand
// still, new ones are not answered. Heal ends that. It takes a network that only the test is in, as
// deploy/tests/root.sh gives it.
func cut(t *testing.T, addr string, lost direction) (heal func()) {
	t.Helper()
	needOwnNetwork(t)
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	table := fmt.Sprintf("inet cut_%s_%d", port, lost)
	rules := fmt.Sprintf("add table %s\nadd chain %s arriving { type filter hook input priority 0; }\n", table, table)
	if lost != answers {
		rules += fmt.Sprintf("add rule %s arriving tcp dport %s drop\n", table, port)
	}
	if lost != requests {
		rules += fmt.Sprintf("add rule %s arriving tcp sport %s drop\n", table, port)
	}
	nft(t, rules)
	heal = sync.OnceFunc(func() { nft(t, "delete table "+table) })
	t.Cleanup(heal)
	return heal
}

// needOwnNetwork fails a test that would cut anybody else's.
func needOwnNetwork(t *testing.T) {
	t.Helper()
	if os.Getenv("FIRN_TEST_OWN_NETWORK") == "" {
		t.Fatal("FIRN_TEST_OWN_NETWORK is not set: run deploy/tests/root.sh, which gives the tests a network of their own")
	}
}

func nft(t *testing.T, rules string) {
	t.Helper()
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(rules)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("nft: %v\n%s%s", err, rules, out)
	}
}

// A network that loses packets is worse than a server that is gone: nothing tells that it is. What holds when etcd or
// the bucket is away holds then, too.
func TestNetworkCuts(t *testing.T) {
	t.Run("etcd", func(t *testing.T) {
		t.Parallel()
		etcdAway(t, func(_ *kvtest.Etcd, p *proxy) func() { return cut(t, p.addr(), both) }, true)
	})
	for name, url := range bucketURLs {
		t.Run("bucket/"+name, func(t *testing.T) {
			t.Parallel()
			bucketAway(t, url, func(s *objtest.Server) func() { return cut(t, s.Host, both) })
		})
	}
	for lost, name := range map[direction]string{both: "clients", requests: "requests", answers: "answers"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cutClients(t, lost)
		})
	}
}

// cutClients cuts idempotent producers off again and again, for longer than they wait for an answer: what they send
// once more after that is written once.
func cutClients(t *testing.T, lost direction) {
	t.Helper()
	const patience = time.Second
	p := brokertest.Start(t, "--set", "log.retention.check.interval.ms=200")
	r := newPacedRig(t, p, time.Millisecond, kgo.ProduceRequestTimeout(patience), kgo.RequestTimeoutOverhead(patience), kgo.DialTimeout(patience))
	for range envInt(t, "FIRN_TEST_CUT_ROUNDS", 3) {
		before := r.acked()
		p.Eventually("producing goes on", func() (bool, error) { return r.acked() > before+200, nil })
		heal := cut(t, p.Bootstrap, lost)
		r.live(4 * patience)
		heal()
	}
	r.finish()
}
