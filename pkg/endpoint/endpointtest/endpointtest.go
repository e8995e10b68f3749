// Package endpointtest makes certificates and real TLS servers on loopback, for tests.
package endpointtest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// Issued is a certificate with its key.
type Issued struct {
	*x509.Certificate

	key *ecdsa.PrivateKey
}

// Issue makes a certificate that is valid for a month before a date and a year after it; by is nil where it
// signs itself.
func Issue(tb testing.TB, name string, by *Issued, around time.Time, tweak func(*x509.Certificate)) *Issued {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, //nolint:forbidigo // any number will do
		NotBefore: around.AddDate(0, -1, 0), NotAfter: around.AddDate(1, 0, 0),
	}
	tweak(template)
	if by == nil {
		by = &Issued{template, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.Certificate, key.Public(), by.key)
	if err != nil {
		tb.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return &Issued{certificate, key}
}

// IsCA makes a template one of a CA.
func IsCA(c *x509.Certificate) {
	c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
}

// IsServer makes a template one of a server on loopback, with another name.
func IsServer(c *x509.Certificate) {
	c.DNSNames, c.IPAddresses = []string{"minio.example.com"}, []net.IP{net.IPv4(127, 0, 0, 1)}
	c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
}

// PEM returns certificates as a file.
func PEM(chain ...*Issued) []byte {
	var file []byte
	for _, c := range chain {
		file = append(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return file
}

// KeyPEM returns the key of a certificate as a file.
func KeyPEM(tb testing.TB, c *Issued) []byte {
	tb.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(c.key)
	if err != nil {
		tb.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// Serve starts a TLS server that sends a chain, and returns its address.
func Serve(tb testing.TB, chain ...*Issued) string {
	tb.Helper()
	return ServeTLS(tb, &tls.Config{MinVersion: tls.VersionTLS12}, chain...)
}

// ServeTLS is Serve with a configuration.
func ServeTLS(tb testing.TB, config *tls.Config, chain ...*Issued) string {
	tb.Helper()
	certificate := tls.Certificate{PrivateKey: chain[0].key}
	for _, c := range chain {
		certificate.Certificate = append(certificate.Certificate, c.Raw)
	}
	config.Certificates = []tls.Certificate{certificate}
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // clients that do not trust it
	server.TLS = config
	server.StartTLS()
	tb.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// ServeHTTP starts a server of plain HTTP, and returns its address.
func ServeHTTP(tb testing.TB) string {
	tb.Helper()
	server := httptest.NewServer(http.NotFoundHandler())
	tb.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// ServeText starts a server that says something else than TLS or HTTP, and returns its address.
func ServeText(tb testing.TB, greeting string) string {
	tb.Helper()
	return serve(tb, func(connection net.Conn) {
		_, _ = io.WriteString(connection, greeting) // who has gone reads nothing
		_, _ = io.Copy(io.Discard, connection)
	})
}

// HangUp starts a server that ends every connection at once, and returns its address.
func HangUp(tb testing.TB) string {
	tb.Helper()
	return serve(tb, func(net.Conn) {})
}

func serve(tb testing.TB, answer func(net.Conn)) string {
	tb.Helper()
	listener := listen(tb)
	tb.Cleanup(func() { _ = listener.Close() }) // nothing is lost
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer connection.Close()
				answer(connection)
			}()
		}
	}()
	return listener.Addr().String()
}

// Closed returns an address where nobody listens.
func Closed(tb testing.TB) string {
	tb.Helper()
	listener := listen(tb)
	if err := listener.Close(); err != nil {
		tb.Fatal(err)
	}
	return listener.Addr().String()
}

func listen(tb testing.TB) net.Listener {
	tb.Helper()
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	return listener
}
