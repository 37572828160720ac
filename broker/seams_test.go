package broker

import (
	"bytes"
	"log/slog"
	"os"
	"testing"

	"firn/metadata/kvtest"
)

// A certificate that is renewed while the broker runs is shown to etcd from the next connection on.
func TestRenewedCertificateForEtcd(t *testing.T) {
	files, old := kvtest.Certificates(t)
	renewed, next := kvtest.Certificates(t)
	b := &Broker{cfg: DefaultConfig(), log: slog.New(slog.DiscardHandler)}
	b.cfg.Etcd.CAFile, b.cfg.Etcd.CertFile, b.cfg.Etcd.KeyFile = files.CA, files.Cert, files.Key
	c, err := b.etcdConfig()
	if err != nil {
		t.Fatal(err)
	}
	shown := func() []byte {
		t.Helper()
		cert, err := c.TLS.GetClientCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		return cert.Certificate[0]
	}
	if !bytes.Equal(shown(), old.Certificates[0].Certificate[0]) {
		t.Error("not the certificate of the file")
	}
	for to, from := range map[string]string{files.Cert: renewed.Cert, files.Key: renewed.Key} {
		pem, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(to, pem, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(shown(), next.Certificates[0].Certificate[0]) {
		t.Error("not the renewed one")
	}
	if err := os.Remove(files.Key); err != nil {
		t.Fatal(err)
	}
	if _, err := b.etcdConfig(); err == nil {
		t.Error("a broker starts without the key")
	}
}
