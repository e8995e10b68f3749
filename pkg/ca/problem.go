package ca

import (
	"fmt"
	"time"
)

// ID is the stable name of a kind of problem.
type ID string

// The kinds of problems.
const (
	Absence       ID = "missing"
	Empty         ID = "empty"
	NotPEM        ID = "not-pem"
	NoCertificate ID = "no-certificate"
	Malformed     ID = "malformed"
	Headers       ID = "pem-headers"
	PrivateKey    ID = "private-key"
	OtherBlock    ID = "other-block"
	Duplicate     ID = "duplicate"
	NotCA         ID = "not-a-ca"
	KeyUsage      ID = "key-usage"
	WeakKey       ID = "weak-key"
	WeakSignature ID = "weak-signature"
	HasExpired    ID = "expired"
	SoonExpired   ID = "expires-soon"
	NotYetValid   ID = "not-yet-valid"
)

// Problem is something wrong with a CA file.
type Problem struct {
	ID ID
	// Text says what and where, and what to do: certificates count from 1, lines too.
	Text string
}

// This file holds every sentence that is said of a CA. None holds data of the file
// but the name of a certificate.

const (
	isEmpty          = "it is empty; put the CA there, as PEM"
	isUTF16          = "it is UTF-16 text; save it as UTF-8"
	hasByteOrderMark = "it begins with a byte order mark, which hides the first certificate; save it without"
	holdsHiddenKey   = "it holds a private key; keep certificates only, and replace that key"
	isDERText        = "it is DER; convert it with openssl x509 -inform der -outform pem"
	isIndented       = "its PEM block does not begin at the start of a line; remove what precedes it"
	noCertificate    = "it holds no PEM certificate"
)

func (c *Certificate) String() string { return fmt.Sprintf("certificate %d (%s)", c.Number, c.Name) }

func malformed(line int) string {
	return fmt.Sprintf("the PEM block at line %d cannot be decoded; copy it anew", line)
}

func doesNotParse(number, line int, err error) string {
	return fmt.Sprintf("certificate %d at line %d does not parse: %v", number, line, err)
}

func holdsPrivateKey(line int) string {
	return fmt.Sprintf("it holds a private key at line %d; keep certificates only, and replace that key", line)
}

// Beside is the problem of a Secret that holds a private key beside the CA.
func Beside(key string) Problem {
	return Problem{PrivateKey, fmt.Sprintf("the object holds a private key too, in %s; keep the CA in one of its own", key)}
}

func otherBlock(kind string, line int) string {
	return fmt.Sprintf("the PEM block at line %d is a %.40q; keep certificates only", line, kind)
}

func duplicate(c *Certificate, first int) string {
	return fmt.Sprintf("%s is the same as certificate %d; remove one", c, first)
}

func unfitText(id ID, c *Certificate) string {
	switch id { //nolint:exhaustive // the others have sentences of their own
	case Headers:
		return fmt.Sprintf("%s has headers in its PEM block, for which Go passes it over; remove them", c)
	case NotCA:
		if c.selfSigned {
			return fmt.Sprintf("%s is self-signed and no CA; issue one by a CA, and put that CA there", c)
		}
		return fmt.Sprintf("%s is no CA; put the CA that issued it there", c)
	case KeyUsage:
		return fmt.Sprintf("%s may not sign certificates of servers, by its key usage", c)
	case WeakKey:
		return fmt.Sprintf("%s has a weak key; issue it with RSA 2048 or ECDSA P-256 at least", c)
	default:
		return fmt.Sprintf("%s is signed with an algorithm that clients refuse; issue it with SHA-256", c)
	}
}

func expired(c *Certificate) string {
	return fmt.Sprintf("%s expired on %s", c, c.NotAfter.UTC().Format(time.DateOnly))
}

func expiresSoon(c *Certificate) string {
	return fmt.Sprintf("%s expires on %s", c, c.NotAfter.UTC().Format(time.DateOnly))
}

func notYetValid(c *Certificate) string {
	return fmt.Sprintf("%s is not valid before %s", c, c.NotBefore.UTC().Format(time.DateOnly))
}
