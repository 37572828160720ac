package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"firn/broker/brokertest"
	"firn/metadata/kvtest"
)

// A broker works on an etcd that demands a certificate and a password, and goes on when that has forgotten that it had asked
// for them. With a wrong password, or without a certificate, it says so and ends.
func TestEtcdWithUsersAndTLS(t *testing.T) {
	t.Parallel()
	e, files, conf := kvtest.StartSecureEtcd(t)
	endpoint := "https://" + e.Endpoint()
	kvtest.AddUser(t, endpoint, conf, "winter", "s3cret", "/k/firn/")
	args := []string{
		"--set", "etcd.tls.ca.file=" + files.CA, "--set", "etcd.tls.cert.file=" + files.Cert, "--set", "etcd.tls.key.file=" + files.Key,
		"--set", "etcd.username=winter",
	}
	p := brokertest.StartBroker(t, endpoint, brokertest.Options{Args: args, Env: []string{"FIRN_ETCD_PASSWORD=s3cret"}})
	r := newPacedRig(t, p, 2*time.Millisecond)
	r.stillAcknowledging()
	e.Kill() // and all tokens are gone
	e.Restart()
	createTopic(t, p, "another", 1)
	r.stillAcknowledging()
	r.finish()

	for _, wrong := range []struct {
		says string
		args []string
	}{
		{"access refused: etcdserver: authentication failed", append(slices.Clone(args), "--set", "etcd.password=wrong")},
		{"access refused: etcdserver: permission denied", args[:6]},  // no user
		{"unavailable", append(slices.Clone(args[:2]), args[6:]...)}, // no certificate
	} {
		line := append([]string{
			"broker", "--set", "node.id=2", "--set", "log.dirs=" + t.TempDir(), "--set", "etcd.endpoints=" + endpoint,
			"--set", "initial.broker.registration.timeout.ms=1000",
		}, wrong.args...)
		if out, code := brokertest.Run(t, line...); code != exitError || !strings.Contains(out, wrong.says) {
			t.Errorf("exit code %d, want %q in %s", code, wrong.says, out)
		}
	}
}
