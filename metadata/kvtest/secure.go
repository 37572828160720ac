package kvtest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"firn/deploy/tools/toolbox"
	"firn/metadata"
)

// StartSecureEtcd is StartEtcd with an etcd that demands a certificate of its clients, and which AddUser may have demand
// passwords, too.
func StartSecureEtcd(tb testing.TB) (e *Etcd, files CertificateFiles, conf *tls.Config) {
	tb.Helper()
	files, conf = Certificates(tb)
	e = &Etcd{Dir: tb.TempDir()}
	e.Process = toolbox.Start(tb, toolbox.Server{
		Path:  toolbox.Need(tb, "etcd"),
		Ports: 3,
		Args: func(ports []int) []string {
			client, peer := fmt.Sprintf("https://127.0.0.1:%d", ports[0]), fmt.Sprintf("http://127.0.0.1:%d", ports[1])
			return append(memberArgs("m1", e.Dir, client, peer, "m1="+peer),
				"--cert-file="+files.Cert, "--key-file="+files.Key, "--trusted-ca-file="+files.CA, "--client-cert-auth",
				"--listen-metrics-urls="+fmt.Sprintf("http://127.0.0.1:%d", ports[2]),
				"--bcrypt-cost=4") // hashing passwords is not what is tested
		},
		Ready: func(ctx context.Context, ports []int) error {
			return healthy(ctx, fmt.Sprintf("127.0.0.1:%d", ports[2]))
		},
	})
	return e, files, conf
}

// CertificateFiles are the paths of PEM files: an authority, and a certificate of it, with its key, for servers on the
// loopback and for clients.
type CertificateFiles struct{ CA, Cert, Key string }

// Certificates makes such files for a test, and what a client makes of them.
func Certificates(tb testing.TB) (CertificateFiles, *tls.Config) {
	tb.Helper()
	dir := tb.TempDir()
	caKey, ca := certificate(tb, &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test ca"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, nil, nil)
	key, cert := certificate(tb, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, ca, caKey)
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	files := CertificateFiles{CA: filepath.Join(dir, "ca.pem"), Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	for path, b := range map[string]*pem.Block{
		files.CA: {Type: "CERTIFICATE", Bytes: ca.Raw}, files.Cert: {Type: "CERTIFICATE", Bytes: cert.Raw}, files.Key: {Type: "EC PRIVATE KEY", Bytes: der},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(b), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	pair := tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
	return files, &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
}

func certificate(tb testing.TB, spec, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*ecdsa.PrivateKey, *x509.Certificate) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	spec.NotBefore, spec.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	if parent == nil {
		parent, parentKey = spec, key
	}
	der, err := x509.CreateCertificate(rand.Reader, spec, parent, &key.PublicKey, parentKey)
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return key, cert
}

// AddUser makes a user that may do everything under a prefix, and turns authentication on.
func AddUser(tb testing.TB, endpoint string, conf *tls.Config, user, password, prefix string) {
	tb.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, TLS: conf})
	if err != nil {
		tb.Fatal(err)
	}
	defer c.Close()
	ctx := tb.Context()
	_, e1 := c.RoleAdd(ctx, user)
	_, e2 := c.RoleGrantPermission(ctx, user, prefix, metadata.PrefixEnd(prefix), clientv3.PermissionType(clientv3.PermReadWrite))
	_, e3 := c.UserAdd(ctx, user, password)
	_, e4 := c.UserGrantRole(ctx, user, user)
	_, e5 := c.UserAdd(ctx, "root", "root")
	_, e6 := c.UserGrantRole(ctx, "root", "root")
	_, e7 := c.AuthEnable(ctx)
	if err := errors.Join(e1, e2, e3, e4, e5, e6, e7); err != nil {
		tb.Fatal(err)
	}
}
