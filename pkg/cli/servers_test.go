package cli_test

import (
	"crypto/x509"
	"testing"
	"time"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/endpoint"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/endpoint/endpointtest"
)

// startServers starts real servers on loopback, each with a chain of its own, and returns
// their addresses and the fingerprint of the root, as variables for scripts.
func startServers(t *testing.T) map[string]string {
	t.Helper()
	type issued = endpointtest.Issued
	issue := func(name string, by *issued, tweak func(*x509.Certificate)) *issued {
		return endpointtest.Issue(t, name, by, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), tweak)
	}
	isCA, isServer := endpointtest.IsCA, endpointtest.IsServer
	root := issue("S3 root", nil, isCA)
	between := issue("S3 intermediate", root, isCA)
	leaf := issue("minio", between, isServer)
	expired := issue("minio", root, func(c *x509.Certificate) {
		isServer(c)
		c.NotAfter = c.NotBefore.AddDate(0, 0, 10)
	})
	otherName := issue("minio", root, func(c *x509.Certificate) { c.DNSNames = []string{"minio.example.com", "minio"} })
	self := issue("minio", nil, isServer)
	variables := map[string]string{
		"ROOT_FINGERPRINT": endpoint.Fingerprint(root.Certificate), "PLAIN_HTTP": endpointtest.ServeHTTP(t), "CLOSED": endpointtest.Closed(t),
	}
	for name, chain := range map[string][]*issued{
		"WHOLE_CHAIN": {leaf, between, root}, "ANOTHER_ORDER": {leaf, root, between}, "WITHOUT_ROOT": {leaf, between},
		"LEAF_ALONE": {leaf}, "SELF_SIGNED": {self}, "EXPIRED": {expired, root}, "OTHER_NAME": {otherName, root},
	} {
		variables[name] = endpointtest.Serve(t, chain...)
	}
	return variables
}
