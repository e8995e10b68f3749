package ca_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/ca"
)

var now = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// certificate makes a self-signed CA that is valid for a year, with one tweak.
func certificate(t *testing.T, tweak func(*x509.Certificate)) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "S3 CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(1, 0, 0), KeyUsage: x509.KeyUsageCertSign,
	}
	if tweak != nil {
		tweak(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func TestJudge(t *testing.T) {
	tests := map[string]struct {
		data []byte
		want []string
	}{
		"a CA":         {certificate(t, nil), nil},
		"no PEM":       {[]byte("hello"), []string{"it holds no PEM certificate"}},
		"empty":        {nil, []string{"it holds no PEM certificate"}},
		"no CA":        {certificate(t, func(c *x509.Certificate) { c.IsCA = false }), []string{"certificate 1 (CN=S3 CA) is no CA"}},
		"expired":      {certificate(t, func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Minute) }), []string{"certificate 1 (CN=S3 CA) expired on 2025-12-31"}},
		"expires soon": {certificate(t, func(c *x509.Certificate) { c.NotAfter = now.AddDate(0, 0, 29) }), []string{"certificate 1 (CN=S3 CA) expires on 2026-01-30"}},
		"not yet valid": {
			certificate(t, func(c *x509.Certificate) { c.NotBefore = now.AddDate(0, 0, 1) }),
			[]string{"certificate 1 (CN=S3 CA) is not valid before 2026-01-02"},
		},
		"the second one": {
			append(certificate(t, nil), certificate(t, func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Minute) })...),
			[]string{"certificate 2 (CN=S3 CA) expired on 2025-12-31"},
		},
		"a private key beside it": {
			append(certificate(t, nil), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: []byte("secret")})...),
			[]string{`it holds a PEM block of type "EC PRIVATE KEY"; keep certificates only`},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, ca.Judge(tt.data, now).Problems); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestJudgeFingerprintsTheFile(t *testing.T) {
	// printf hello | sha256sum
	const want = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
	if got := ca.Judge([]byte("hello"), now).SHA256; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestJudgeTellsTheEarliestExpiry(t *testing.T) {
	early := now.AddDate(0, 2, 0)
	bundle := append(certificate(t, nil), certificate(t, func(c *x509.Certificate) { c.NotAfter = early })...)
	if got := ca.Judge(bundle, now).NotAfter; !got.Equal(early) {
		t.Errorf("%s, want %s", got, early)
	}
}

func TestJudgeNamesACertificateThatDoesNotParse(t *testing.T) {
	bad := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})
	problems := ca.Judge(bad, now).Problems
	if len(problems) != 1 || !strings.HasPrefix(problems[0], "certificate 1 does not parse: ") {
		t.Errorf("%q", problems)
	}
}
