package controller

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
)

// bundle returns the CA for the entries: the present one and the one before it.
// When the CA itself is replaced, replicas serve certificates of both for as long
// as the kubelet takes to give them the new one. Where the present one cannot be
// read, what is written stays.
func (c *Policies) bundle(current *admissionregistrationv1.MutatingWebhookConfiguration) ([]byte, error) {
	var written []byte
	if len(current.Webhooks) > 0 {
		written = current.Webhooks[0].ClientConfig.CABundle
	}
	now, err := c.servingCA()
	if err != nil && len(written) > 0 {
		return written, nil
	}
	if err != nil {
		return nil, err
	}
	bundle := encode(now)
	before, err := certificates(written)
	if err != nil || len(before) == 0 {
		return bundle, nil //nolint:nilerr // nothing that can be kept
	}
	if bytes.HasPrefix(written, bundle) {
		return written, nil
	}
	return append(bundle, encode(before[:1])...), nil
}

func (c *Policies) servingCA() ([]*x509.Certificate, error) {
	data, err := c.ServingCA()
	if err != nil {
		return nil, err
	}
	found, err := certificates(data)
	if err == nil && len(found) == 0 {
		err = errors.New("ca.crt holds no certificate")
	}
	return found, err
}

func certificates(data []byte) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			return all, nil
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		all = append(all, certificate)
	}
}

func encode(all []*x509.Certificate) []byte {
	var out []byte
	for _, c := range all {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return out
}
