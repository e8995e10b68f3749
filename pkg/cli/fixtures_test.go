package cli_test

import (
	"context"
	"maps"

	"gomodules.xyz/jsonpatch/v2"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/inject"
)

type jsonpatchOperation = jsonpatch.Operation

// fixedNamespaces knows the Namespace documents of a case, with the labels and
// annotations of its arguments laid over them.
type fixedNamespaces struct {
	known               map[string]inject.Namespace
	labels, annotations map[string]string
}

func (f *fixedNamespaces) Namespace(_ context.Context, name string) (inject.Namespace, error) {
	n := inject.Namespace{Name: name, Labels: map[string]string{}, Annotations: map[string]string{}}
	maps.Copy(n.Labels, f.known[name].Labels)
	maps.Copy(n.Labels, f.labels)
	maps.Copy(n.Annotations, f.known[name].Annotations)
	maps.Copy(n.Annotations, f.annotations)
	return n, nil
}
