// Package ca judges a CA file: whether a client that is given it can trust an
// endpoint by it. It is pure; the caller reads the file and passes the clock. What
// it keeps of a file is what a judgement needs, never the file.
package ca

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"slices"
	"strings"
	"time"
)

// Bundle is a CA file that was read: everything about it that time does not change.
type Bundle struct {
	// SHA256 is the hex SHA-256 of the file's bytes.
	SHA256 string
	// Certificates are those that parse, in the file's order.
	Certificates []Certificate
	// PrivateKey tells whether the file holds a private key.
	PrivateKey bool

	flaws []flaw
}

// Certificate is one certificate of a bundle.
type Certificate struct {
	// Number counts the CERTIFICATE blocks of the file from 1.
	Number int
	// Name is the common name of the subject, or else the whole subject.
	Name string
	// SHA256 is the hex fingerprint of the certificate.
	SHA256              string
	NotBefore, NotAfter time.Time

	// signs tells whether clients accept certificates that it signed.
	signs bool
	// selfSigned tells whether no other one issued it.
	selfSigned bool
}

// flaw is a problem that is there at any time.
type flaw struct {
	certificate int // its number, to tell problems in the file's order; 0: of the whole file
	Problem
}

// Parse reads a CA file, as clients read it: PEM blocks with whatever between them.
// It reads every file; what is wrong with it is told by Judge.
func Parse(data []byte) *Bundle {
	sum := sha256.Sum256(data)
	b := &Bundle{SHA256: hex.EncodeToString(sum[:])}
	p := parser{bundle: b, seen: map[string]int{}}
	p.encoding(data)
	line := 1
	for _, segment := range segments(data) {
		if isBlock(segment) {
			p.block(segment, line)
		}
		line += bytes.Count(segment, []byte("\n"))
	}
	if !b.PrivateKey && holdsKey(data) {
		b.PrivateKey = true
		p.file(PrivateKey, holdsHiddenKey)
	}
	switch {
	case p.count > 0 || len(b.flaws) > 0:
	case bytes.Contains(data, []byte(begin)):
		p.file(NotPEM, isIndented)
	default:
		p.file(NoCertificate, noCertificate)
	}
	return b
}

// NotAfter returns the earliest expiry in the bundle, zero without a certificate.
func (b *Bundle) NotAfter() time.Time {
	var earliest time.Time
	for i := range b.Certificates {
		if t := b.Certificates[i].NotAfter; earliest.IsZero() || t.Before(earliest) {
			earliest = t
		}
	}
	return earliest
}

// NextExpiry returns when the next of the CAs expires that have not yet; where all have, when
// the last one did. It is zero without a CA.
func (b *Bundle) NextExpiry(now time.Time) time.Time {
	var next, last time.Time
	for i := range b.Certificates {
		c := &b.Certificates[i]
		switch t := c.NotAfter; {
		case !c.signs:
		case now.After(t):
			if t.After(last) {
				last = t
			}
		case next.IsZero() || t.Before(next):
			next = t
		}
	}
	if next.IsZero() {
		return last
	}
	return next
}

// Replaces tells whether the bundle has another CA in place of one that was good, so that
// there is no time in which both are trusted. One that is only added or removed replaces none.
func (b *Bundle) Replaces(old *Bundle, now time.Time) bool {
	lost := slices.ContainsFunc(old.Certificates, func(c Certificate) bool {
		return c.signs && !now.After(c.NotAfter) && !b.has(c.SHA256)
	})
	gained := slices.ContainsFunc(b.Certificates, func(c Certificate) bool { return !old.has(c.SHA256) })
	return lost && gained
}

func (b *Bundle) has(sha256 string) bool {
	return slices.ContainsFunc(b.Certificates, func(c Certificate) bool { return c.SHA256 == sha256 })
}

// begin is what a PEM block begins with, at the start of a line.
const begin = "-----BEGIN "

func isBlock(segment []byte) bool { return bytes.HasPrefix(segment, []byte(begin)) }

// segments cuts a file before every line that begins a PEM block. What precedes
// the first one is a segment too.
func segments(data []byte) [][]byte {
	var all [][]byte
	for {
		newline := bytes.Index(data, []byte("\n"+begin))
		if newline < 0 {
			return append(all, data)
		}
		all = append(all, data[:newline+1])
		data = data[newline+1:]
	}
}

// parser reads the blocks of one file.
type parser struct {
	bundle *Bundle
	count  int            // CERTIFICATE blocks so far
	seen   map[string]int // number of a certificate by its fingerprint
}

func (p *parser) file(id ID, text string) {
	p.bundle.flaws = append(p.bundle.flaws, flaw{Problem: Problem{id, text}})
}

func (p *parser) certificate(id ID, text string) {
	p.bundle.flaws = append(p.bundle.flaws, flaw{p.count, Problem{id, text}})
}

// encoding tells of files that no client reads as PEM, though a person would.
func (p *parser) encoding(data []byte) {
	switch {
	case len(data) == 0:
		p.file(Empty, isEmpty)
	case bytes.HasPrefix(data, []byte("\xff\xfe")), bytes.HasPrefix(data, []byte("\xfe\xff")), isWide(data):
		p.file(NotPEM, isUTF16)
	case bytes.HasPrefix(data, []byte("\xef\xbb\xbf")):
		p.file(NotPEM, hasByteOrderMark)
	case isDER(data):
		p.file(NotPEM, isDERText)
	}
}

// isWide recognises UTF-16 without a byte order mark.
func isWide(data []byte) bool {
	return bytes.HasPrefix(data, []byte("-\x00-\x00")) || bytes.HasPrefix(data, []byte("\x00-\x00-"))
}

// holdsKey recognises a private key that no client would read, though a person can: indented, cut
// off, in UTF-16, as DER.
func holdsKey(data []byte) bool {
	if bytes.Contains(bytes.ReplaceAll(data, []byte("\x00"), nil), []byte("PRIVATE KEY-----")) {
		return true
	}
	_, pkcs8 := x509.ParsePKCS8PrivateKey(data)
	_, pkcs1 := x509.ParsePKCS1PrivateKey(data)
	_, ec := x509.ParseECPrivateKey(data)
	return pkcs8 == nil || pkcs1 == nil || ec == nil
}

func isDER(data []byte) bool {
	_, err := x509.ParseCertificates(data)
	return err == nil
}

func (p *parser) block(segment []byte, line int) {
	block, _ := pem.Decode(segment)
	if block == nil {
		p.count++
		p.certificate(Malformed, malformed(line))
		return
	}
	switch {
	case strings.HasSuffix(block.Type, "PRIVATE KEY"):
		if !p.bundle.PrivateKey {
			p.file(PrivateKey, holdsPrivateKey(line))
		}
		p.bundle.PrivateKey = true
	case block.Type != "CERTIFICATE":
		p.file(OtherBlock, otherBlock(block.Type, line))
	default:
		p.count++
		p.parse(block, line)
	}
}

func (p *parser) parse(block *pem.Block, line int) {
	parsed, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		p.certificate(Malformed, doesNotParse(p.count, line, err))
		return
	}
	sum := sha256.Sum256(parsed.Raw)
	c := Certificate{
		Number: p.count, Name: nameOf(parsed), SHA256: hex.EncodeToString(sum[:]),
		NotBefore: parsed.NotBefore, NotAfter: parsed.NotAfter, signs: true, selfSigned: bytes.Equal(parsed.RawIssuer, parsed.RawSubject),
	}
	if first := p.seen[c.SHA256]; first > 0 {
		p.certificate(Duplicate, duplicate(&c, first))
		return
	}
	p.seen[c.SHA256] = p.count
	for _, found := range unfit(parsed, block) {
		p.certificate(found, unfitText(found, &c))
		c.signs = c.signs && !fatal(found)
	}
	p.bundle.Certificates = append(p.bundle.Certificates, c)
}

func nameOf(c *x509.Certificate) string {
	name := c.Subject.CommonName
	if name == "" {
		name = c.Subject.String()
	}
	const most = 40
	if len(name) > most {
		name = strings.ToValidUTF8(name[:most], "") + "…"
	}
	return name
}
