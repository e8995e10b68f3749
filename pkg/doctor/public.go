package doctor

import (
	"crypto/x509"
	"sync"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// publicRoots are Mozilla's, those that images of applications hold. Those of the machine that asks
// are not meant: a company's own CA is often among them, and in no image.
//
//nolint:gochecknoglobals // a constant
var publicRoots = sync.OnceValue(func() *x509.CertPool {
	pool := x509.NewCertPool()
	for root := range bundle.Roots() {
		if c, err := x509.ParseCertificate(root.Certificate); err == nil {
			if root.Constraint != nil {
				pool.AddCertWithConstraint(c, root.Constraint)
			} else {
				pool.AddCert(c)
			}
		}
	}
	return pool
})
