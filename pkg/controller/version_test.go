package controller

import (
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/api/v1alpha1"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/entry"
)

func TestVersionOfTheEntries(t *testing.T) {
	entries := func(generation int64) []entry.Policy {
		policy := &v1alpha1.InjectionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "all", Generation: generation}}
		return entry.Policies(admissionregistrationv1.WebhookClientConfig{}, nil, []*v1alpha1.InjectionPolicy{policy})
	}
	var w written
	for _, step := range []struct {
		what       string
		generation int64
		version    string
		want       string
	}{
		{"the first entries", 1, "10", "10"},
		{"a status was written", 1, "12", "10"},
		{"an edit of the settings", 2, "13", "13"},
		{"another status", 2, "20", "13"},
		{"the store was restored", 2, "7", "7"},
	} {
		if w.update(entries(step.generation), step.version); w.version != step.want {
			t.Errorf("%s: version %s, want %s", step.what, w.version, step.want)
		}
	}
}
