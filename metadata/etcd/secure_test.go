package etcd

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"

	"firn/metadata"
)

// certificates writes a CA and one certificate of it for server and client into a directory.
func certificates(t *testing.T) (dir string, pool *x509.CertPool, pair tls.Certificate) {
	t.Helper()
	dir = t.TempDir()
	caKey, ca := certificate(t, &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test ca"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, nil, nil)
	key, cert := certificate(t, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, ca, caKey)
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string]*pem.Block{
		"ca.pem": {Type: "CERTIFICATE", Bytes: ca.Raw}, "cert.pem": {Type: "CERTIFICATE", Bytes: cert.Raw}, "key.pem": {Type: "EC PRIVATE KEY", Bytes: der},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool = x509.NewCertPool()
	pool.AddCert(ca)
	return dir, pool, tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

func certificate(t *testing.T, spec, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*ecdsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spec.NotBefore, spec.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	if parent == nil {
		parent, parentKey = spec, key
	}
	der, err := x509.CreateCertificate(rand.Reader, spec, parent, &key.PublicKey, parentKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return key, cert
}

// TestUsersAndTLS reaches an etcd that demands a client certificate and a password.
func TestUsersAndTLS(t *testing.T) {
	dir, pool, pair := certificates(t)
	cfg := embed.NewConfig()
	cfg.Dir = t.TempDir()
	listen := []url.URL{{Scheme: "https", Host: "127.0.0.1:0"}}
	peer := []url.URL{{Scheme: "unix", Path: filepath.Join(dir, "peer.sock")}}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = listen, listen
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = peer, peer
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	cfg.TickMs, cfg.ElectionMs = 10, 100
	cfg.BcryptCost = 4 // hashing passwords is not what is tested
	cfg.ClientTLSInfo = transport.TLSInfo{
		CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem"),
		TrustedCAFile: filepath.Join(dir, "ca.pem"), ClientCertAuth: true,
	}
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(newZap(slog.New(slog.DiscardHandler)))
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	<-e.Server.ReadyNotify()
	endpoint := "https://" + e.Clients[0].Addr().String()
	ours := &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	addUser(t, endpoint, ours)

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
	if err := try("firn", "secret", &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}); !errors.Is(err, metadata.ErrUnavailable) {
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
}

// addUser makes a user that may do everything under /k/firn/, and turns authentication on.
func addUser(t *testing.T, endpoint string, conf *tls.Config) {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, TLS: conf})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx := t.Context()
	_, e1 := c.RoleAdd(ctx, "firn")
	_, e2 := c.RoleGrantPermission(ctx, "firn", "/k/firn/", metadata.PrefixEnd("/k/firn/"), clientv3.PermissionType(clientv3.PermReadWrite))
	_, e3 := c.UserAdd(ctx, "firn", "secret")
	_, e4 := c.UserGrantRole(ctx, "firn", "firn")
	_, e5 := c.UserAdd(ctx, "root", "root")
	_, e6 := c.UserGrantRole(ctx, "root", "root")
	_, e7 := c.AuthEnable(ctx)
	if err := errors.Join(e1, e2, e3, e4, e5, e6, e7); err != nil {
		t.Fatal(err)
	}
}
