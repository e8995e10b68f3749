package ca_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/ca"
)

var now = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func newKey(tb testing.TB) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

// template is a CA that is valid for a year, with one tweak.
func template(tweak func(*x509.Certificate)) *x509.Certificate {
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "S3 CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(1, 0, 0), KeyUsage: x509.KeyUsageCertSign,
	}
	if tweak != nil {
		tweak(t)
	}
	return t
}

func encode(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// signed returns a certificate that key signed for itself.
func signed(tb testing.TB, key crypto.Signer, tweak func(*x509.Certificate)) []byte {
	tb.Helper()
	c := template(tweak)
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	return encode(der)
}

// certificate makes a CA that signed itself, with one tweak.
func certificate(tb testing.TB, tweak func(*x509.Certificate)) []byte {
	tb.Helper()
	return signed(tb, newKey(tb), tweak)
}

// leaf is a server's certificate that a CA issued.
func leaf(tb testing.TB) []byte {
	tb.Helper()
	c, key := template(func(c *x509.Certificate) { c.IsCA, c.KeyUsage, c.Subject.CommonName = false, 0, "s3.shop" }), newKey(tb)
	der, err := x509.CreateCertificate(rand.Reader, c, template(nil), key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	return encode(der)
}

func wide(data []byte) []byte {
	out := []byte("\xff\xfe")
	for _, unit := range utf16.Encode([]rune(string(data))) {
		out = append(out, byte(unit), byte(unit>>8))
	}
	return out
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func weakRSA(t *testing.T) []byte {
	t.Helper()
	t.Setenv("GODEBUG", "rsa1024min=0")
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	return signed(t, key, nil)
}

func ofCurve(t *testing.T, curve elliptic.Curve) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signed(t, key, nil)
}

// withSHA1 is an intermediate CA whose signature names SHA-1, which Go does not make
// any more. Nobody looks at the signature itself here.
func withSHA1(t *testing.T) []byte {
	t.Helper()
	issuer, key := template(func(c *x509.Certificate) { c.Subject.CommonName = "Root" }), newRSAKey(t)
	der, err := x509.CreateCertificate(rand.Reader, template(nil), issuer, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	sha256WithRSA, sha1WithRSA := []byte("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b"), []byte("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05")
	if bytes.Count(der, sha256WithRSA) != 2 {
		t.Fatal("the algorithm is not where it was expected")
	}
	return encode(bytes.ReplaceAll(der, sha256WithRSA, sha1WithRSA))
}

func newRSAKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func roots(tb testing.TB, size int) []byte {
	tb.Helper()
	key := newKey(tb)
	var out []byte
	for n := int64(1); len(out) < size; n++ {
		out = append(out, signed(tb, key, func(c *x509.Certificate) { c.SerialNumber = big.NewInt(n) })...)
	}
	return out
}

func TestJudge(t *testing.T) {
	good := certificate(t, nil)
	der, _ := pem.Decode(good)
	privateKey := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: []byte("secret")})
	expired := certificate(t, func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Minute) })
	lines := bytes.Count(good, []byte("\n"))
	type want struct {
		verdict  ca.Verdict
		problems []string
	}
	tests := map[string]struct {
		data []byte
		want want
	}{
		"a CA":                      {good, want{ca.Valid, nil}},
		"two":                       {join(good, certificate(t, nil)), want{ca.Valid, nil}},
		"text before and between":   {join([]byte("# Root\n"), good, []byte("\nsubject=…\n"), certificate(t, nil)), want{ca.Valid, nil}},
		"lines end as on Windows":   {bytes.ReplaceAll(good, []byte("\n"), []byte("\r\n")), want{ca.Valid, nil}},
		"no newline at the end":     {bytes.TrimSpace(good), want{ca.Valid, nil}},
		"1 MiB of roots":            {roots(t, 1<<20), want{ca.Valid, nil}},
		"no PEM":                    {[]byte("hello"), want{ca.Invalid, []string{"no-certificate it holds no PEM certificate"}}},
		"empty":                     {nil, want{ca.Invalid, []string{"empty it is empty; put the CA there, as PEM"}}},
		"UTF-16":                    {wide(good), want{ca.Invalid, []string{"not-pem it is UTF-16 text; save it as UTF-8"}}},
		"UTF-16 without a mark":     {wide(good)[2:], want{ca.Invalid, []string{"not-pem it is UTF-16 text; save it as UTF-8"}}},
		"a byte order mark":         {join([]byte("\xef\xbb\xbf"), good), want{ca.Invalid, []string{"not-pem it begins with a byte order mark, which hides the first certificate; save it without"}}},
		"a mark, the second counts": {join([]byte("\xef\xbb\xbf"), good, good), want{ca.Valid, []string{"not-pem it begins with a byte order mark, which hides the first certificate; save it without"}}},
		"DER":                       {der.Bytes, want{ca.Invalid, []string{"not-pem it is DER; convert it with openssl x509 -inform der -outform pem"}}},
		"indented":                  {join([]byte("  "), bytes.ReplaceAll(good, []byte("\n"), []byte("\n  "))), want{ca.Invalid, []string{"not-pem its PEM block does not begin at the start of a line; remove what precedes it"}}},
		"cut off":                   {join(good, good[:80]), want{ca.Valid, []string{fmt.Sprintf("malformed the PEM block at line %d cannot be decoded; copy it anew", lines+1)}}},
		"base64 is broken":          {bytes.Replace(good, []byte("MII"), []byte("M?I"), 1), want{ca.Invalid, []string{"malformed the PEM block at line 1 cannot be decoded; copy it anew"}}},
		"it does not parse":         {join(good, encode([]byte("x"))), want{ca.Valid, []string{fmt.Sprintf("malformed certificate 2 at line %d does not parse: x509: malformed certificate", lines+1)}}},
		"PEM headers":               {pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Headers: map[string]string{"A": "b"}, Bytes: der.Bytes}), want{ca.Invalid, []string{"pem-headers certificate 1 (S3 CA) has headers in its PEM block, for which Go passes it over; remove them"}}},
		"a private key":             {join(good, privateKey, privateKey), want{ca.Invalid, []string{fmt.Sprintf("private-key it holds a private key at line %d; keep certificates only, and replace that key", lines+1)}}},
		"another block":             {join(good, pem.EncodeToMemory(&pem.Block{Type: "TRUSTED CERTIFICATE"})), want{ca.Valid, []string{fmt.Sprintf(`other-block the PEM block at line %d is a "TRUSTED CERTIFICATE"; keep certificates only`, lines+1)}}},
		"twice the same":            {join(good, good), want{ca.Valid, []string{"duplicate certificate 2 (S3 CA) is the same as certificate 1; remove one"}}},
		"no CA":                     {certificate(t, func(c *x509.Certificate) { c.IsCA, c.KeyUsage = false, x509.KeyUsageDigitalSignature }), want{ca.Invalid, []string{"not-a-ca certificate 1 (S3 CA) is self-signed and no CA; issue one by a CA, and put that CA there"}}},
		"a leaf":                    {leaf(t), want{ca.Invalid, []string{"not-a-ca certificate 1 (s3.shop) is no CA; put the CA that issued it there"}}},
		"key usage":                 {certificate(t, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign }), want{ca.Invalid, []string{"key-usage certificate 1 (S3 CA) may not sign certificates of servers, by its key usage"}}},
		"extended key usage":        {certificate(t, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }), want{ca.Invalid, []string{"key-usage certificate 1 (S3 CA) may not sign certificates of servers, by its key usage"}}},
		"for servers too":           {certificate(t, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), want{ca.Valid, nil}},
		"a weak RSA key":            {weakRSA(t), want{ca.Valid, []string{"weak-key certificate 1 (S3 CA) has a weak key; issue it with RSA 2048 or ECDSA P-256 at least"}}},
		"a weak curve":              {ofCurve(t, elliptic.P224()), want{ca.Valid, []string{"weak-key certificate 1 (S3 CA) has a weak key; issue it with RSA 2048 or ECDSA P-256 at least"}}},
		"a weak signature":          {withSHA1(t), want{ca.Valid, []string{"weak-signature certificate 1 (S3 CA) is signed with an algorithm that clients refuse; issue it with SHA-256"}}},
		"expired":                   {expired, want{ca.Expired, []string{"expired certificate 1 (S3 CA) expired on 2025-12-31"}}},
		"the second one expired":    {join(good, expired), want{ca.Valid, []string{"expired certificate 2 (S3 CA) expired on 2025-12-31"}}},
		"expires soon":              {certificate(t, func(c *x509.Certificate) { c.NotAfter = now.AddDate(0, 0, 29) }), want{ca.ExpiresSoon, []string{"expires-soon certificate 1 (S3 CA) expires on 2026-01-30"}}},
		"expires in 31 days":        {certificate(t, func(c *x509.Certificate) { c.NotAfter = now.AddDate(0, 0, 31) }), want{ca.Valid, nil}},
		"not yet valid":             {certificate(t, func(c *x509.Certificate) { c.NotBefore = now.AddDate(0, 0, 1) }), want{ca.Invalid, []string{"not-yet-valid certificate 1 (S3 CA) is not valid before 2026-01-02"}}},
		"no common name": {certificate(t, func(c *x509.Certificate) {
			c.Subject = pkix.Name{Organization: []string{"Shop"}}
			c.NotAfter = now.AddDate(0, 0, 1)
		}), want{ca.ExpiresSoon, []string{"expires-soon certificate 1 (O=Shop) expires on 2026-01-02"}}},
		"two problems": {
			join(expired, certificate(t, func(c *x509.Certificate) { c.IsCA, c.KeyUsage, c.NotAfter = false, 0, now.AddDate(0, 0, 1) })),
			want{ca.Expired, []string{
				"expired certificate 1 (S3 CA) expired on 2025-12-31",
				"not-a-ca certificate 2 (S3 CA) is self-signed and no CA; issue one by a CA, and put that CA there", "expires-soon certificate 2 (S3 CA) expires on 2026-01-02",
			}},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			judged := ca.Parse(tt.data).Judge("file", now)
			got := want{verdict: judged.Verdict}
			for _, p := range judged.Problems {
				got.problems = append(got.problems, string(p.ID)+" "+p.Text)
			}
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(want{})); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func TestJudgeFingerprintsTheFile(t *testing.T) {
	// printf hello | sha256sum
	const want = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
	if got := ca.Parse([]byte("hello")).SHA256; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	good := ca.Parse(certificate(t, nil))
	if got := good.Judge("file", now).SHA256; got != good.SHA256 {
		t.Errorf("judged: %q, want %s", got, good.SHA256)
	}
	if got := ca.Parse([]byte("hello")).Judge("file", now).SHA256; got != "" {
		t.Errorf("the hash of what is no certificate is told: %s", got)
	}
}

func TestJudgeTellsTheEarliestExpiry(t *testing.T) {
	early := now.AddDate(0, 2, 0)
	bundle := append(certificate(t, nil), certificate(t, func(c *x509.Certificate) { c.NotAfter = early })...)
	if got := ca.Parse(bundle).Judge("file", now).NotAfter; !got.Equal(early) {
		t.Errorf("%s, want %s", got, early)
	}
}

// An expired certificate beside others says nothing of when those expire.
func TestJudgeTellsTheNextExpiry(t *testing.T) {
	ofYear := func(year int) []byte {
		return certificate(t, func(c *x509.Certificate) { c.NotAfter = time.Date(year, 1, 2, 0, 0, 0, 0, time.UTC) })
	}
	for name, tt := range map[string]struct {
		file []byte
		want int
	}{
		"the next of two":              {join(ofYear(2030), ofYear(2028)), 2028},
		"beside an expired one":        {join(ofYear(2020), ofYear(2028)), 2028},
		"all have expired":             {join(ofYear(2020), ofYear(2022), ofYear(2021)), 2022},
		"a leaf's does not count":      {join(leaf(t), ofYear(2030)), 2030},
		"there is no CA in the file":   {leaf(t), 1},
		"there is nothing in the file": {nil, 1},
	} {
		if got := ca.Parse(tt.file).Judge("file", now).NextExpiry; got.Year() != tt.want {
			t.Errorf("%s: %s, want %d", name, got, tt.want)
		}
	}
}

func TestCauseIsWhyTheFileIsOfNoUse(t *testing.T) {
	bad := leaf(t)
	for want, file := range map[string][]byte{
		"": certificate(t, nil),
		"certificate 2 (S3 CA) is the same as certificate 1; remove one":    join(certificate(t, nil), nil),
		"certificate 1 (s3.shop) is no CA; put the CA that issued it there": join(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL"}), bad, bad),
	} {
		if strings.Contains(want, "the same") {
			file = join(file, file)
		}
		judged := ca.Parse(file).Judge("file", now)
		if got := judged.Cause(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestReplaces(t *testing.T) {
	root, old, renewed := certificate(t, nil), certificate(t, nil), certificate(t, nil)
	expired := certificate(t, func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Minute) })
	for name, tt := range map[string]struct {
		before, after []byte
		want          bool
	}{
		"another CA":                       {old, renewed, true},
		"another CA beside public roots":   {join(root, old), join(root, renewed), true},
		"the new one beside the old":       {old, join(renewed, old), false},
		"the old one goes":                 {join(renewed, old), renewed, false},
		"another in place of an expired":   {join(root, expired), join(root, renewed), false},
		"nothing of what was there before": {join(root, old), renewed, true},
	} {
		if got := ca.Parse(tt.after).Replaces(ca.Parse(tt.before), now); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// A private key is recognised however badly it is written.
func TestHiddenPrivateKeys(t *testing.T) {
	good := certificate(t, nil)
	der, err := x509.MarshalPKCS8PrivateKey(newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	for name, data := range map[string][]byte{
		"indented":            join(good, []byte("  "), key),
		"on the line before":  join(bytes.TrimSpace(good), key),
		"cut off":             join(good, key[:60]),
		"a bad character":     join(good, bytes.Replace(key, []byte("MI"), []byte("M?"), 1)),
		"a byte order mark":   join([]byte("\xef\xbb\xbf"), key, good),
		"UTF-16":              wide(join(good, key)),
		"DER":                 der,
		"old ends of a line":  bytes.ReplaceAll(join(good, key), []byte("\n"), []byte("\r")),
		"escaped in a string": bytes.ReplaceAll(join(good, key), []byte("\n"), []byte(`\n`)),
	} {
		if judged := ca.Parse(data).Judge("file", now); !judged.PrivateKey || judged.Verdict != ca.Invalid {
			t.Errorf("%s: %+v", name, judged)
		}
	}
}

// What Go's clients would trust is what the bundle lists.
func FuzzParse(f *testing.F) {
	good := certificate(f, nil)
	for _, data := range [][]byte{nil, good, wide(good), join([]byte("x"), good), join(good, good[:90], good), join(good[:90], good), []byte(strings.Repeat("-----BEGIN ", 3))} {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		trusted := x509.NewCertPool().AppendCertsFromPEM(data)
		listed := false
		for _, c := range ca.Parse(data).Certificates {
			listed = listed || c.Number > 0
		}
		problems := ca.Parse(data).Judge("file", now).Problems
		if trusted && !listed {
			t.Errorf("Go trusts something, the bundle lists nothing: %v", problems)
		}
		if !trusted && len(problems) == 0 {
			t.Error("Go trusts nothing, and no problem is told")
		}
	})
}

func BenchmarkJudge(b *testing.B) {
	for _, size := range []int{1, 1 << 20} {
		b.Run(fmt.Sprintf("%d-KiB", size>>10), func(b *testing.B) {
			data := roots(b, size)
			b.ReportAllocs()
			for b.Loop() {
				ca.Parse(data).Judge("file", now)
			}
		})
	}
}
