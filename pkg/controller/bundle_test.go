package controller

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
)

func newCA(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func TestBundle(t *testing.T) {
	first, second, third := newCA(t), newCA(t), newCA(t)
	missing := errors.New("no such file")
	tests := map[string]struct {
		written, served []byte
		err             error
		want            []byte
		wantErr         bool
	}{
		"nothing is written":               {nil, first, nil, first, false},
		"nothing changes":                  {first, first, nil, first, false},
		"a new CA, the old one stays":      {first, second, nil, append(bytes.Clone(second), first...), false},
		"the old one stays":                {append(bytes.Clone(second), first...), second, nil, append(bytes.Clone(second), first...), false},
		"a third, the oldest goes":         {append(bytes.Clone(second), first...), third, nil, append(bytes.Clone(third), second...), false},
		"it cannot be read":                {first, nil, missing, first, false},
		"it cannot be read the first time": {nil, nil, missing, nil, true},
		"it holds no certificate":          {nil, []byte("x"), nil, nil, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := &Policies{ServingCA: func() ([]byte, error) { return tt.served, tt.err }}
			current := &admissionregistrationv1.MutatingWebhookConfiguration{}
			if tt.written != nil {
				current.Webhooks = []admissionregistrationv1.MutatingWebhook{{ClientConfig: admissionregistrationv1.WebhookClientConfig{CABundle: tt.written}}}
			}
			got, err := c.bundle(current)
			if (err != nil) != tt.wantErr || !bytes.Equal(got, tt.want) {
				t.Errorf("got %v\n%s\nwant\n%s", err, got, tt.want)
			}
		})
	}
}
