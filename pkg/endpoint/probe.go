package endpoint

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"
)

// Failure is why no certificates came from an endpoint.
type Failure string

// The failures.
const (
	NoFailure  Failure = ""
	UnknownDNS Failure = "dns"
	Refused    Failure = "refused"
	TimedOut   Failure = "timeout"
	PlainHTTP  Failure = "plain-http"
	NoTLS      Failure = "no-tls"
	Handshake  Failure = "handshake"
	Unreached  Failure = "unreached"
)

// Probe is what an endpoint answered to a client that trusts everybody.
type Probe struct {
	// Address is HOST:PORT; Name is the name that the certificate has to have.
	Address string `json:"address"`
	Name    string `json:"name"`
	// From is where it was asked from, for people: "here", or a pod.
	From string `json:"from"`
	// Namespace is that of the pod that asked; empty where none did.
	Namespace string `json:"namespace,omitempty"`

	Failure Failure `json:"failure,omitempty"`
	Detail  string  `json:"detail,omitempty"`
	// TLS is the version that was agreed on: TLS 1.3.
	TLS string `json:"tls,omitempty"`
	// OldTLS: clients refuse the version.
	OldTLS bool `json:"oldTLS,omitempty"`
	// Chain is what it sent, as PEM.
	Chain string `json:"chain,omitempty"`
	// AsksClient: it asks for the client's certificate, too.
	AsksClient bool `json:"asksClient,omitempty"`
}

// Ask asks an endpoint who it is. It never fails: what went wrong is in the answer. from says
// where that was, for people.
func Ask(ctx context.Context, a Address, from string) Probe {
	p := Probe{Address: a.HostPort, Name: a.Name, From: from}
	said, err := handshake(ctx, a)
	if err != nil {
		p.Failure, p.Detail = classify(err), explain(a, err).Error()
	}
	if len(said.chain) == 0 {
		return p
	}
	p.TLS, p.OldTLS, p.AsksClient = tls.VersionName(said.version), said.version < tls.VersionTLS12, said.asks
	var file bytes.Buffer
	for _, c := range said.chain {
		_ = pem.Encode(&file, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}) // a buffer takes everything
	}
	p.Chain = file.String()
	return p
}

func classify(err error) Failure {
	var noTLS tls.RecordHeaderError
	var dns *net.DNSError
	var timeout net.Error
	switch {
	case errors.As(err, &noTLS) && bytes.HasPrefix(noTLS.RecordHeader[:], []byte("HTTP/")):
		return PlainHTTP
	case errors.As(err, &noTLS):
		return NoTLS
	case errors.As(err, &dns) && dns.IsNotFound:
		return UnknownDNS
	case errors.As(err, &dns):
		return Unreached
	case errors.Is(err, syscall.ECONNREFUSED):
		return Refused
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return TimedOut
	case isAlert(err):
		return Handshake
	}
	return Unreached
}

// Certificates returns the chain that was sent.
func (p *Probe) Certificates() (Chain, error) { return ParseChain([]byte(p.Chain)) }

// ParseChain reads certificates as PEM.
func ParseChain(file []byte) (Chain, error) {
	var chain Chain
	for {
		var block *pem.Block
		if block, file = pem.Decode(file); block == nil {
			return chain, nil
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(chain)+1, err)
		}
		chain = append(chain, c)
	}
}

// TrustBy returns why a client that trusts the CAs of a file does not trust the chain for a name.
func (c Chain) TrustBy(cas []*x509.Certificate, name string, now time.Time) error {
	roots := x509.NewCertPool()
	for _, ca := range cas {
		roots.AddCert(ca)
	}
	return c.TrustIn(roots, name, now)
}

// TrustIn is as TrustBy, for a pool.
func (c Chain) TrustIn(roots *x509.CertPool, name string, now time.Time) error {
	others := x509.NewCertPool()
	for _, certificate := range c[1:] {
		others.AddCert(certificate)
	}
	_, err := c[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: others, DNSName: name, CurrentTime: now})
	return err
}
