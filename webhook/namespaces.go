package webhook

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unique"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/api/v1alpha1"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/inject"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/observed"
)

// ClusterNamespaces are the namespaces that the API server has told of. One that is not known yet is
// looked for once more: a namespace and its first pod are often created in one breath.
type ClusterNamespaces struct {
	client corev1client.CoreV1Interface
	store  *observed.Store[inject.Namespace]
}

// NewClusterNamespaces returns namespaces that are followed once Follow is called.
func NewClusterNamespaces(client corev1client.CoreV1Interface) *ClusterNamespaces {
	return &ClusterNamespaces{client: client, store: observed.NewStore(reduceNamespace)}
}

// Follow follows the namespaces until ctx ends.
func (n *ClusterNamespaces) Follow(ctx context.Context, log logr.Logger) {
	n.store.Watch(ctx, observed.Objects{
		Client: n.client.RESTClient(), Resource: "namespaces", Example: &corev1.Namespace{}, Log: log,
		// A right that is missing for a moment must not have all pods refused.
		Keep: true, Denied: func() { log.Info("not allowed to watch namespaces; answering by what is known of them") },
	})
}

// Synced tells whether all namespaces are known.
func (n *ClusterNamespaces) Synced() bool { return n.store.State() == observed.Synced }

// reduceNamespace keeps what a decision reads: all labels, which policies select by, and the
// project's annotations.
func reduceNamespace(object any) (inject.Namespace, bool) {
	found, ok := object.(*corev1.Namespace)
	if !ok {
		return inject.Namespace{}, false
	}
	kept := inject.Namespace{Name: found.Name, Labels: make(map[string]string, len(found.Labels))}
	for key, value := range found.Labels {
		kept.Labels[unique.Make(key).Value()] = value // keys are the same in thousands of namespaces
	}
	for key, value := range found.Annotations {
		if strings.HasPrefix(key, v1alpha1.Prefix) {
			if kept.Annotations == nil {
				kept.Annotations = map[string]string{}
			}
			kept.Annotations[key] = value
		}
	}
	return kept, true
}

// Namespace implements Namespaces.
func (n *ClusterNamespaces) Namespace(ctx context.Context, name string) (inject.Namespace, error) {
	if !n.Synced() {
		return inject.Namespace{}, errors.New("the namespaces are not listed yet")
	}
	if found, ok := n.store.Get(types.NamespacedName{Name: name}); ok {
		return found, nil
	}
	found, err := n.client.Namespaces().Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return inject.Namespace{}, fmt.Errorf("there is no namespace %q", name)
	}
	if err != nil {
		return inject.Namespace{}, fmt.Errorf("get namespace %q: %w", name, err)
	}
	kept, _ := reduceNamespace(found)
	return kept, nil
}
