// Package endpoint asks a TLS server for its certificates, and tells which of them a
// client has to trust. It sends nothing beyond the handshake.
package endpoint

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Address is a server: host and port, and the name that its certificate has to have.
type Address struct {
	HostPort string
	Name     string
}

// ParseAddress reads HOST, HOST:PORT or https://HOST:PORT/…. The port is 443 where none is given.
func ParseAddress(text string) (Address, error) {
	if strings.HasPrefix(text, "http://") {
		return Address{}, fmt.Errorf("%q is plain HTTP, which has no certificate; name the HTTPS endpoint", text)
	}
	rest, isURL := strings.CutPrefix(text, "https://")
	if isURL {
		rest, _, _ = strings.Cut(rest, "/")
	}
	host, port, err := net.SplitHostPort(rest)
	if err != nil {
		host, port = strings.Trim(rest, "[]"), "443"
	}
	if number, err := strconv.ParseUint(port, 10, 16); err != nil || number == 0 || !isHost(host) {
		return Address{}, fmt.Errorf("%q is no endpoint; write it as HOST:PORT", text)
	}
	return Address{HostPort: net.JoinHostPort(host, port), Name: host}, nil
}

// isHost tells whether a text may be the name or address of a host.
func isHost(text string) bool {
	if net.ParseIP(text) != nil {
		return true
	}
	return len(text) <= 253 && hostName.MatchString(text)
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9._][A-Za-z0-9._-]*$`)

// Chain is what a server sends: its own certificate first.
type Chain []*x509.Certificate

// Fetch takes the certificates of a server, whoever it is.
func Fetch(ctx context.Context, a Address) (Chain, error) {
	said, err := handshake(ctx, a)
	if err != nil && len(said.chain) == 0 {
		return nil, explain(a, err)
	}
	return said.chain, nil
}

// said is what a server said of itself.
type said struct {
	version uint16
	chain   Chain
	// asks: it asks for the client's certificate.
	asks bool
}

// handshake shakes hands with a server, whoever it is, and says no more. Where that fails, what the
// server said before is there nevertheless: one that wants the client's certificate sends its own
// first.
func handshake(ctx context.Context, a Address) (said, error) {
	var s said
	dialer := tls.Dialer{Config: &tls.Config{
		ServerName:         serverName(a.Name),
		InsecureSkipVerify: true, //nolint:gosec // what it sends is what is judged
		MinVersion:         tls.VersionTLS10,
		VerifyConnection: func(state tls.ConnectionState) error {
			s.version, s.chain = state.Version, state.PeerCertificates
			return nil
		},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			s.asks = true
			return &tls.Certificate{}, nil // which sends none
		},
	}}
	connection, err := dialer.DialContext(ctx, "tcp", a.HostPort)
	if err != nil {
		return s, err
	}
	_ = connection.Close() // everything is said
	return s, nil
}

// serverName is what is asked for: an address is none.
func serverName(name string) string {
	if net.ParseIP(name) != nil {
		return ""
	}
	return name
}

// explain says what a failed connection means.
func explain(a Address, err error) error {
	var noTLS tls.RecordHeaderError
	var dns *net.DNSError
	switch {
	case errors.As(err, &noTLS):
		return fmt.Errorf("%s does not speak TLS: it may be a port for plain HTTP; name the one for HTTPS", a.HostPort)
	case errors.As(err, &dns) && !dns.IsNotFound:
		return fmt.Errorf("whether the name %s is known cannot be found out here: %w", a.Name, err)
	case errors.As(err, &dns):
		return fmt.Errorf("the name %s is not known here: %w", a.Name, err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s does not answer; look at address, port and firewall", a.HostPort)
	case isAlert(err):
		return fmt.Errorf("%s ends the handshake: %w", a.HostPort, err)
	}
	return fmt.Errorf("connect to %s: %w", a.HostPort, err)
}

// isAlert tells whether the server ended the handshake.
func isAlert(err error) bool {
	var remote *net.OpError
	return errors.As(err, &remote) && remote.Op == "remote error"
}

// Kind tells what the topmost certificate of a chain is.
type Kind int

// The kinds.
const (
	// Root signed itself, and others.
	Root Kind = iota
	// Intermediate is signed by one that the server does not send.
	Intermediate
	// SelfSigned is the server's own, and signed itself: it is its own CA.
	SelfSigned
	// Leaf is the server's own: what signed it is not sent.
	Leaf
)

// Top returns the topmost certificate of the chain, by who signed whom: servers do not
// always keep the order.
func (c Chain) Top() (*x509.Certificate, Kind) {
	top := c[0]
	for range c {
		issuer := c.issuerOf(top)
		if issuer == nil {
			break
		}
		top = issuer
	}
	switch own := top == c[0]; {
	case own && signedItself(top):
		return top, SelfSigned
	case own:
		return top, Leaf
	case signedItself(top):
		return top, Root
	default:
		return top, Intermediate
	}
}

// issuerOf returns the certificate of the chain that signed another one: the root where there is a
// cross-signed one beside it.
func (c Chain) issuerOf(signed *x509.Certificate) *x509.Certificate {
	var found *x509.Certificate
	for _, candidate := range c {
		if candidate != signed && !candidate.Equal(signed) && signed.CheckSignatureFrom(candidate) == nil && (found == nil || signedItself(candidate)) {
			found = candidate
		}
	}
	return found
}

func signedItself(c *x509.Certificate) bool {
	return string(c.RawIssuer) == string(c.RawSubject) &&
		c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil
}

// Trust returns why a client that trusts a CA alone does not trust the chain for a name.
func (c Chain) Trust(ca *x509.Certificate, name string, now time.Time) error {
	return c.TrustBy([]*x509.Certificate{ca}, name, now)
}

// Names returns the names and addresses that a certificate is for, to be printed.
func Names(c *x509.Certificate) []string {
	var names []string
	for _, name := range c.DNSNames {
		names = append(names, Printable(name))
	}
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	return names
}

// Fingerprint returns the SHA-256 of a certificate: sha256:6b86b273ff34….
func Fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// ParseFingerprint reads a SHA-256 fingerprint as openssl, browsers and Fingerprint write it.
func ParseFingerprint(text string) (string, error) {
	digits := strings.ToLower(strings.NewReplacer(":", "", " ", "", "-", "").Replace(strings.TrimPrefix(strings.ToLower(text), "sha256:")))
	if _, err := hex.DecodeString(digits); err != nil || len(digits) != 2*sha256.Size {
		return "", fmt.Errorf("%q is no SHA-256 fingerprint; write it as sha256: and 64 digits", text)
	}
	return "sha256:" + digits, nil
}
