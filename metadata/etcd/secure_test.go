package etcd

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"

	"firn/metadata"
	"firn/metadata/kvtest"
)

// TestUsersAndTLS reaches an etcd that demands a client certificate and a password.
func TestUsersAndTLS(t *testing.T) {
	files, ours := kvtest.Certificates(t)
	cfg := embed.NewConfig()
	cfg.Dir = t.TempDir()
	listen := []url.URL{{Scheme: "https", Host: "127.0.0.1:0"}}
	peer := []url.URL{{Scheme: "unix", Path: filepath.Join(t.TempDir(), "peer.sock")}}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = listen, listen
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = peer, peer
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	cfg.TickMs, cfg.ElectionMs = 10, 100
	cfg.BcryptCost = 4 // hashing passwords is not what is tested
	cfg.ClientTLSInfo = transport.TLSInfo{
		CertFile: files.Cert, KeyFile: files.Key,
		TrustedCAFile: files.CA, ClientCertAuth: true,
	}
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(newZap(slog.New(slog.DiscardHandler)))
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	<-e.Server.ReadyNotify()
	endpoint := "https://" + e.Clients[0].Addr().String()
	kvtest.AddUser(t, endpoint, ours, "firn", "secret", "/k/firn/")

	try := func(user, password string, conf *tls.Config) error {
		kv, err := Dial(Config{Endpoints: []string{endpoint}, Username: user, Password: password, TLS: conf, RequestTimeout: time.Second})
		if err != nil {
			return err
		}
		defer kv.Close()
		id, _, err := kv.Grant(t.Context(), time.Minute)
		if err == nil {
			_, err = kv.KeepAlive(t.Context(), id)
		}
		if err == nil {
			_, err = kv.Txn(t.Context(), metadata.Txn{Then: []metadata.Op{metadata.PutLeased("/k/firn/k", nil, id)}})
		}
		return err
	}
	if err := try("firn", "secret", ours); err != nil {
		t.Errorf("with password and certificate: %v", err)
	}
	if err := try("firn", "wrong", ours); !errors.Is(err, metadata.ErrRefused) {
		t.Errorf("with a wrong password: %v", err)
	}
	if err := try("", "", ours); !errors.Is(err, metadata.ErrRefused) {
		t.Errorf("without a user: %v", err)
	}
	if err := try("firn", "secret", &tls.Config{RootCAs: ours.RootCAs, MinVersion: tls.VersionTLS12}); !errors.Is(err, metadata.ErrUnavailable) {
		t.Errorf("without a certificate: %v", err)
	}
	kv, err := Dial(Config{Endpoints: []string{endpoint}, Username: "firn", Password: "secret", TLS: ours})
	if err != nil {
		t.Fatal(err)
	}
	defer kv.Close()
	if _, err := kv.Txn(t.Context(), metadata.Txn{Then: []metadata.Op{metadata.Put("/elsewhere", nil)}}); !errors.Is(err, metadata.ErrRefused) {
		t.Errorf("a key that the user may not write: %v", err)
	}
	res, err := kv.Txn(t.Context(), metadata.Txn{Then: []metadata.Op{metadata.Put("/k/firn/k", nil)}})
	if err != nil {
		t.Fatal(err)
	}
	if got := <-kv.Watch(t.Context(), "/k/firn/", "/k/firn0", res.Rev); got.Err != nil || len(got.Events) != 1 {
		t.Errorf("what a watch delivers: %+v", got)
	}
}
