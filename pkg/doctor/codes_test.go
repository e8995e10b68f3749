package doctor_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/ca"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/doctor"
)

// The README has the table of codes, in this order.
func TestREADMEHasTheCodes(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	for _, c := range doctor.Codes() {
		fmt.Fprintf(&table, "| `%s` | %s | %s |\n", c.Code, c.Severity, c.Meaning)
	}
	if !strings.Contains(string(readme), table.String()) {
		t.Errorf("README.md lacks the table of codes, which is\n%s", table.String())
	}
}

// Each problem of a CA has a code, and no code is there twice.
func TestCodes(t *testing.T) {
	codes := map[doctor.Code]bool{}
	for _, c := range doctor.Codes() {
		if codes[c.Code] {
			t.Errorf("%s is there twice", c.Code)
		}
		codes[c.Code] = true
	}
	for _, id := range []ca.ID{
		ca.Absence, ca.Empty, ca.NotPEM, ca.NoCertificate, ca.Malformed, ca.Headers, ca.PrivateKey, ca.OtherBlock, ca.Duplicate,
		ca.NotCA, ca.KeyUsage, ca.WeakKey, ca.WeakSignature, ca.HasExpired, ca.SoonExpired, ca.NotYetValid,
	} {
		if !codes[doctor.Code("ca-"+id)] {
			t.Errorf("a CA's %s has no code", id)
		}
	}
}
