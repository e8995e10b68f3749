package webhook

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/inject"
)

func namespace(name, from string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: name, Labels: map[string]string{"from": from}, Annotations: map[string]string{"s3-tls/secret": "ca", "long": "text"},
	}}
}

// A namespace is looked for once more where it is not known, and an error is told.
func TestClusterNamespaces(t *testing.T) {
	client := fake.NewClientset(namespace("shop", "API server"), namespace("new", "API server"))
	n := NewClusterNamespaces(client.CoreV1())
	if _, err := n.Namespace(t.Context(), "shop"); err == nil {
		t.Error("it answers before the namespaces are listed")
	}
	if err := n.store.Replace([]any{namespace("shop", "store")}, ""); err != nil {
		t.Fatal(err)
	}
	for name, from := range map[string]string{"shop": "store", "new": "API server"} {
		got, err := n.Namespace(t.Context(), name)
		want := inject.Namespace{Name: name, Labels: map[string]string{"from": from}, Annotations: map[string]string{"s3-tls/secret": "ca"}}
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
	}
	if asked := len(client.Actions()); asked != 1 {
		t.Errorf("the API server was asked %d times", asked)
	}
	if _, err := n.Namespace(t.Context(), "gone"); err == nil {
		t.Error("a namespace is found that is not there")
	}
	client.PrependReactor("get", "namespaces", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("connection refused")
	})
	if _, err := n.Namespace(t.Context(), "new"); err == nil {
		t.Error("the API server is gone, and it answers")
	}
}
