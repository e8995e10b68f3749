// Package ca judges a PEM bundle: whether a client that trusts it can trust
// anything by it. It is pure; the caller reads the file and passes the clock.
package ca

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"time"
)

// ExpirySoon is how long before its expiry a certificate is worth a warning.
const ExpirySoon = 30 * 24 * time.Hour

// Bundle is a judged CA file.
type Bundle struct {
	// SHA256 is the hex SHA-256 of the file's bytes.
	SHA256 string
	// NotAfter is the earliest expiry in it, zero without a certificate.
	NotAfter time.Time
	// Problems say what is plainly wrong, a sentence each.
	Problems []string
}

// Judge reads a bundle. Certificates are counted from 1.
func Judge(data []byte, now time.Time) Bundle {
	sum := sha256.Sum256(data)
	b := Bundle{SHA256: hex.EncodeToString(sum[:])}
	count := 0
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			b.problem("it holds a PEM block of type %q; keep certificates only", block.Type)
			continue
		}
		count++
		b.certificate(count, block.Bytes, now)
	}
	if count == 0 {
		b.problem("it holds no PEM certificate")
	}
	return b
}

func (b *Bundle) certificate(n int, der []byte, now time.Time) {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		b.problem("certificate %d does not parse: %v", n, err)
		return
	}
	if b.NotAfter.IsZero() || c.NotAfter.Before(b.NotAfter) {
		b.NotAfter = c.NotAfter
	}
	if !c.IsCA || !c.BasicConstraintsValid {
		b.problem("certificate %d (%s) is no CA", n, c.Subject)
	}
	switch day := c.NotAfter.Format(time.DateOnly); {
	case now.After(c.NotAfter):
		b.problem("certificate %d (%s) expired on %s", n, c.Subject, day)
	case now.Add(ExpirySoon).After(c.NotAfter):
		b.problem("certificate %d (%s) expires on %s", n, c.Subject, day)
	case now.Before(c.NotBefore):
		b.problem("certificate %d (%s) is not valid before %s", n, c.Subject, c.NotBefore.Format(time.DateOnly))
	}
}

func (b *Bundle) problem(format string, args ...any) {
	b.Problems = append(b.Problems, fmt.Sprintf(format, args...))
}
