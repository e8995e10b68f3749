package ca

import (
	"crypto/dsa" //nolint:staticcheck // to tell of it
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"slices"
)

// minRSABits is the size of an RSA key that clients accept without question.
const minRSABits = 2048

// unfit returns why clients do not, or soon will not, accept what a certificate
// signed. It follows crypto/x509; OpenSSL asks for the same.
func unfit(c *x509.Certificate, block *pem.Block) []ID {
	var found []ID
	if len(block.Headers) > 0 {
		found = append(found, Headers)
	}
	// A certificate of version 1 has no basic constraints; clients take it as a root.
	isCA := c.IsCA || (c.Version < 3 && !c.BasicConstraintsValid)
	switch {
	case !isCA:
		found = append(found, NotCA)
	case c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageCertSign == 0:
		found = append(found, KeyUsage)
	case !servers(c):
		found = append(found, KeyUsage)
	}
	if weakKey(c) {
		found = append(found, WeakKey)
	}
	if weakSignature(c) {
		found = append(found, WeakSignature)
	}
	return found
}

// fatal tells whether a certificate with this problem signs nothing that clients accept.
func fatal(id ID) bool { return id != WeakKey && id != WeakSignature }

// servers tells whether the certificate may sign those of servers.
func servers(c *x509.Certificate) bool {
	if len(c.ExtKeyUsage) == 0 && len(c.UnknownExtKeyUsage) == 0 {
		return true
	}
	return slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageServerAuth) || slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny)
}

func weakKey(c *x509.Certificate) bool {
	switch key := c.PublicKey.(type) {
	case *rsa.PublicKey:
		return key.N.BitLen() < minRSABits
	case *ecdsa.PublicKey:
		return key.Curve.Params().BitSize < 256
	case *dsa.PublicKey:
		return true
	}
	return false
}

// weakSignature tells of signatures that clients refuse. Nobody looks at that of a
// root, which signed itself.
func weakSignature(c *x509.Certificate) bool {
	weak := []x509.SignatureAlgorithm{x509.MD2WithRSA, x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.ECDSAWithSHA1}
	return slices.Contains(weak, c.SignatureAlgorithm) && string(c.RawIssuer) != string(c.RawSubject)
}
