package webhook

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/inject"
)

// ClusterNamespaces looks namespaces up in a metadata-only cache, and live
// where the cache has not seen one yet: a namespace and its first pod are
// often created in one breath.
type ClusterNamespaces struct {
	Cache client.Reader
	Live  client.Reader
}

// NamespaceObject is the type to ask a cache for: metadata of Namespaces.
func NamespaceObject() *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}}
}

// Namespace implements Namespaces.
func (n *ClusterNamespaces) Namespace(ctx context.Context, name string) (inject.Namespace, error) {
	object := NamespaceObject()
	key := types.NamespacedName{Name: name}
	err := n.Cache.Get(ctx, key, object)
	if apierrors.IsNotFound(err) {
		err = n.Live.Get(ctx, key, object)
	}
	if err != nil {
		return inject.Namespace{}, fmt.Errorf("get namespace %q: %w", name, err)
	}
	return inject.Namespace{Name: name, Labels: object.Labels, Annotations: object.Annotations}, nil
}
