package webhook

import (
	"context"
	"errors"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// reader answers every Get with labels, or an error.
type reader struct {
	client.Reader

	labels map[string]string
	err    error
	asked  int
}

func (r *reader) Get(_ context.Context, _ client.ObjectKey, object client.Object, _ ...client.GetOption) error {
	r.asked++
	if r.err == nil {
		object.SetLabels(r.labels)
	}
	return r.err
}

func TestClusterNamespaces(t *testing.T) {
	notFound := apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, "shop")
	fromCache, fromLive := map[string]string{"from": "cache"}, map[string]string{"from": "live"}
	tests := map[string]struct {
		cache, live reader
		want        string
		asksLive    int
		fails       bool
	}{
		"in the cache":           {reader{labels: fromCache}, reader{labels: fromLive}, "cache", 0, false},
		"not in the cache yet":   {reader{err: notFound}, reader{labels: fromLive}, "live", 1, false},
		"not there at all":       {reader{err: notFound}, reader{err: notFound}, "", 1, true},
		"the cache fails":        {reader{err: errors.New("not started")}, reader{labels: fromLive}, "", 0, true},
		"the API server is gone": {reader{err: notFound}, reader{err: errors.New("refused")}, "", 1, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			n := &ClusterNamespaces{Cache: &tt.cache, Live: &tt.live}
			namespace, err := n.Namespace(t.Context(), "shop")
			if (err != nil) != tt.fails || namespace.Labels["from"] != tt.want || tt.live.asked != tt.asksLive {
				t.Errorf("%+v, %v; the API server was asked %d times", namespace, err, tt.live.asked)
			}
		})
	}
}

func TestNamespaceObjectIsMetadataOnly(t *testing.T) {
	if kind := NamespaceObject().GroupVersionKind(); kind.Kind != "Namespace" || kind.Version != "v1" {
		t.Error(kind)
	}
}
