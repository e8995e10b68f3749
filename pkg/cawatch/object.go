package cawatch

import (
	"crypto/sha256"
	"runtime"
	"slices"
	"sync"
	"time"
	"weak"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/ca"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/podinfo"
)

// object is what is kept of a Secret or ConfigMap.
type object struct {
	// bundles are its values, by their key.
	bundles map[string]*ca.Bundle
	// privateKeys are the keys of those that hold a private key, in order.
	privateKeys []string
	// changed is when the object got the data that it has, as far as its managers tell.
	changed time.Time
}

// bundles makes one of equal files: a CA is often the same in every namespace.
type bundles struct {
	mu    sync.Mutex
	known map[[sha256.Size]byte]weak.Pointer[ca.Bundle]
}

func (b *bundles) of(data []byte) *ca.Bundle {
	sum := sha256.Sum256(data)
	b.mu.Lock()
	defer b.mu.Unlock()
	if found := b.known[sum].Value(); found != nil {
		return found
	}
	made := ca.Parse(data)
	if b.known == nil {
		b.known = map[[sha256.Size]byte]weak.Pointer[ca.Bundle]{}
	}
	b.known[sum] = weak.Make(made)
	runtime.AddCleanup(made, b.forget, sum)
	return made
}

func (b *bundles) forget(sum [sha256.Size]byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.known[sum].Value() == nil {
		delete(b.known, sum)
	}
}

// reduce keeps of a Secret or ConfigMap what judgements need.
func (b *bundles) reduce(found any) (*object, bool) {
	o := &object{bundles: map[string]*ca.Bundle{}}
	if accessor, err := meta.Accessor(found); err == nil {
		o.changed = podinfo.DataChanged(accessor.GetManagedFields())
	}
	switch found := found.(type) {
	case *corev1.Secret:
		for key, data := range found.Data {
			o.bundles[key] = b.of(data)
		}
	case *corev1.ConfigMap:
		for key, data := range found.Data {
			o.bundles[key] = b.of([]byte(data))
		}
		for key, data := range found.BinaryData {
			o.bundles[key] = b.of(data)
		}
	default:
		return nil, false
	}
	for key, bundle := range o.bundles {
		if bundle.PrivateKey {
			o.privateKeys = append(o.privateKeys, key)
		}
	}
	slices.Sort(o.privateKeys)
	return o, true
}
