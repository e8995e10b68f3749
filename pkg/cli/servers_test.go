package cli_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/endpoint"
)

// issued is a certificate with its key.
type issued struct {
	*x509.Certificate

	key *ecdsa.PrivateKey
}

// issue makes a certificate that is valid in 2026; by is nil where it signs itself.
func issue(t *testing.T, name string, by *issued, tweak func(*x509.Certificate)) *issued {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Date(2025, 12, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC),
	}
	tweak(template)
	if by == nil {
		by = &issued{template, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.Certificate, key.Public(), by.key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &issued{certificate, key}
}

func isCA(c *x509.Certificate) {
	c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
}

func isServer(c *x509.Certificate) {
	c.DNSNames, c.IPAddresses = []string{"minio.example.com"}, []net.IP{net.IPv4(127, 0, 0, 1)}
	c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
}

// startServers starts real servers on loopback, each with a chain of its own, and returns
// their addresses and the fingerprint of the root, as variables for scripts.
func startServers(t *testing.T) map[string]string {
	t.Helper()
	root := issue(t, "S3 root", nil, isCA)
	between := issue(t, "S3 intermediate", root, isCA)
	leaf := issue(t, "minio", between, isServer)
	expired := issue(t, "minio", root, func(c *x509.Certificate) {
		isServer(c)
		c.NotAfter = c.NotBefore.AddDate(0, 0, 10)
	})
	otherName := issue(t, "minio", root, func(c *x509.Certificate) { c.DNSNames = []string{"minio.example.com", "minio"} })
	self := issue(t, "minio", nil, isServer)
	variables := map[string]string{"ROOT_FINGERPRINT": endpoint.Fingerprint(root.Certificate)}
	for name, chain := range map[string][]*issued{
		"WHOLE_CHAIN": {leaf, between, root}, "ANOTHER_ORDER": {leaf, root, between}, "WITHOUT_ROOT": {leaf, between},
		"LEAF_ALONE": {leaf}, "SELF_SIGNED": {self}, "EXPIRED": {expired, root}, "OTHER_NAME": {otherName, root},
	} {
		certificate := tls.Certificate{PrivateKey: chain[0].key}
		for _, c := range chain {
			certificate.Certificate = append(certificate.Certificate, c.Raw)
		}
		server := httptest.NewUnstartedServer(http.NotFoundHandler())
		server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
		server.StartTLS()
		t.Cleanup(server.Close)
		variables[name] = server.Listener.Addr().String()
	}
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	variables["PLAIN_HTTP"] = plain.Listener.Addr().String()
	closed, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	variables["CLOSED"] = closed.Addr().String()
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	return variables
}
