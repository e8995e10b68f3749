package controller

import (
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/api/v1alpha1"
)

func TestMayOverlap(t *testing.T) {
	tests := map[string]struct {
		a, b string
		want bool
	}{
		"both select everything":         {"{}", "{}", true},
		"everything and one label":       {"{}", "podSelector: {matchLabels: {app: store}}", true},
		"two values of a label":          {"podSelector: {matchLabels: {app: store}}", "podSelector: {matchLabels: {app: rule}}", false},
		"two labels":                     {"podSelector: {matchLabels: {app: store}}", "podSelector: {matchLabels: {tier: web}}", true},
		"namespaces apart":               {"namespaceSelector: {matchLabels: {team: red}}", "namespaceSelector: {matchLabels: {team: blue}}", false},
		"namespaces apart, pods alike":   {"namespaceSelector: {matchLabels: {team: red}}\npodSelector: {matchLabels: {app: store}}", "namespaceSelector: {matchLabels: {team: blue}}\npodSelector: {matchLabels: {app: store}}", false},
		"lists with a common value":      {"podSelector: {matchExpressions: [{key: app, operator: In, values: [a, b]}]}", "podSelector: {matchExpressions: [{key: app, operator: In, values: [b, c]}]}", true},
		"lists without one":              {"podSelector: {matchExpressions: [{key: app, operator: In, values: [a, b]}]}", "podSelector: {matchExpressions: [{key: app, operator: In, values: [c]}]}", false},
		"the only value is ruled out":    {"podSelector: {matchLabels: {app: store}}", "podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [store]}]}", false},
		"a value and the label's lack":   {"podSelector: {matchLabels: {app: store}}", "podSelector: {matchExpressions: [{key: app, operator: DoesNotExist}]}", false},
		"existence and lack":             {"podSelector: {matchExpressions: [{key: app, operator: Exists}]}", "podSelector: {matchExpressions: [{key: app, operator: DoesNotExist}]}", false},
		"lack and another value":         {"podSelector: {matchExpressions: [{key: app, operator: DoesNotExist}]}", "podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [store]}]}", true},
		"three lists, common in no pair": {"podSelector: {matchLabels: {app: a}, matchExpressions: [{key: app, operator: In, values: [b]}]}", "{}", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			policies := make([]v1alpha1.InjectionPolicy, 2)
			for i, spec := range []string{tt.a, tt.b} {
				if err := yaml.UnmarshalStrict([]byte(spec), &policies[i].Spec); err != nil {
					t.Fatal(err)
				}
			}
			if got, back := mayOverlap(&policies[0], &policies[1]), mayOverlap(&policies[1], &policies[0]); got != tt.want || back != tt.want {
				t.Errorf("got %v and %v, want %v", got, back, tt.want)
			}
		})
	}
}
