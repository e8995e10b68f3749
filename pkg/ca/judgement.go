package ca

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// ExpirySoon is how long before its expiry a certificate is worth a warning.
const ExpirySoon = 30 * 24 * time.Hour

// Verdict is a judgement in a word.
type Verdict string

// The verdicts. A bundle is Valid where one certificate of it is: a bundle that
// holds the old CA beside the new one outlives the old one.
const (
	Valid       Verdict = "Valid"
	ExpiresSoon Verdict = "ExpiresSoon"
	Expired     Verdict = "Expired"
	Invalid     Verdict = "Invalid"
	Missing     Verdict = "Missing"
)

// Trusted tells whether clients can trust anything by it now.
func (v Verdict) Trusted() bool { return v == Valid || v == ExpiresSoon }

// Judgement is a bundle at a moment, or the lack of one.
type Judgement struct {
	// Place names it to the user: Secret s3-tls-cert[ca.crt], or a file's name.
	Place string
	// SHA256 is the hex SHA-256 of the file's bytes; empty where it is missing, or holds no
	// certificate: then it may be a secret, short enough to be found by its hash.
	SHA256  string
	Verdict Verdict
	// NotAfter is the earliest expiry, zero without a certificate.
	NotAfter time.Time
	// NextExpiry is when the next of the CAs expires that have not yet; where all have, when
	// the last one did. It is zero without a CA.
	NextExpiry time.Time
	// PrivateKey tells whether the file itself holds a private key.
	PrivateKey bool
	// Problems are all that is wrong, in the file's order.
	Problems []Problem
}

// Absent is the judgement where there is nothing at a place; text says so.
func Absent(place, text string) Judgement {
	return Judgement{Place: place, Verdict: Missing, Problems: []Problem{{Absence, text}}}
}

// AbsentObject is the judgement where the object itself is not there: Secret s3-tls-cert.
func AbsentObject(object, namespace string) Judgement {
	return Absent(object, fmt.Sprintf("it is missing in namespace %q; create it there", namespace))
}

// AbsentKey is the judgement where the object lacks the key.
func AbsentKey(place string) Judgement { return Absent(place, "the key is missing; put the CA there") }

// Judge judges the bundle at a moment. place is where it was read.
func (b *Bundle) Judge(place string, now time.Time) Judgement {
	found := slices.Clone(b.flaws)
	for i := range b.Certificates {
		c := &b.Certificates[i]
		if problem, ok := c.validity(now); ok {
			found = append(found, flaw{c.Number, problem})
		}
	}
	slices.SortStableFunc(found, func(a, b flaw) int { return cmp.Compare(a.certificate, b.certificate) })
	j := Judgement{
		Place: place, Verdict: b.verdict(now),
		NotAfter: b.NotAfter(), NextExpiry: b.NextExpiry(now), PrivateKey: b.PrivateKey,
	}
	if len(b.Certificates) > 0 {
		j.SHA256 = b.SHA256
	}
	for _, f := range found {
		j.Problems = append(j.Problems, f.Problem)
	}
	return j
}

// Cause returns the text of the first problem for which the file is of no use, or of the first
// one at all; nothing where there is none.
func (j *Judgement) Cause() string {
	for _, p := range j.Problems {
		if p.ID != Duplicate && p.ID != OtherBlock && p.ID != SoonExpired && fatal(p.ID) {
			return p.Text
		}
	}
	if len(j.Problems) > 0 {
		return j.Problems[0].Text
	}
	return ""
}

func (c *Certificate) validity(now time.Time) (Problem, bool) {
	switch {
	case now.After(c.NotAfter):
		return Problem{HasExpired, expired(c)}, true
	case now.Before(c.NotBefore):
		return Problem{NotYetValid, notYetValid(c)}, true
	case now.Add(ExpirySoon).After(c.NotAfter):
		return Problem{SoonExpired, expiresSoon(c)}, true
	}
	return Problem{}, false
}

// verdict is that of the certificate that lasts longest.
func (b *Bundle) verdict(now time.Time) Verdict {
	best := Invalid
	for i := range b.Certificates {
		c := &b.Certificates[i]
		switch {
		case b.PrivateKey || !c.signs || now.Before(c.NotBefore):
		case now.Add(ExpirySoon).Before(c.NotAfter):
			return Valid
		case !now.After(c.NotAfter):
			best = ExpiresSoon
		case best == Invalid:
			best = Expired
		}
	}
	return best
}
