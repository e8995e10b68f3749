package entry

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/api/v1alpha1"
)

// policyOf makes a policy of its spec as YAML.
func policyOf(t *testing.T, name, spec string) *v1alpha1.InjectionPolicy {
	t.Helper()
	p := &v1alpha1.InjectionPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if err := yaml.UnmarshalStrict([]byte(spec), &p.Spec); err != nil {
		t.Fatal(err)
	}
	return p
}

func policies(t *testing.T, specs ...string) []*v1alpha1.InjectionPolicy {
	t.Helper()
	var all []*v1alpha1.InjectionPolicy
	for i, spec := range specs {
		all = append(all, policyOf(t, string(rune('a'+i)), spec))
	}
	return all
}

// groupsOf writes the policies that share an entry: "a,c b".
func groupsOf(entries []Policy) string {
	var groups []string
	for _, e := range entries {
		var names []string
		for _, p := range e.Policies {
			names = append(names, p.Name)
		}
		groups = append(groups, strings.Join(names, ","))
	}
	return strings.Join(groups, " ")
}

func TestPoliciesShareAnEntryWhereItStaysExact(t *testing.T) {
	tests := map[string]struct {
		specs []string
		want  string
	}{
		"one policy a team":                     {[]string{"namespaceSelector: {matchLabels: {team: red}}", "namespaceSelector: {matchLabels: {team: blue}}", "namespaceSelector: {matchExpressions: [{key: team, operator: In, values: [green, pink]}]}"}, "a,b,c"},
		"one policy an application":             {[]string{"podSelector: {matchLabels: {app: red}}", "podSelector: {matchLabels: {app: blue}}"}, "a,b"},
		"the same selectors":                    {[]string{"podSelector: {matchLabels: {app: red}}", "podSelector: {matchExpressions: [{key: app, operator: In, values: [red]}]}"}, "a,b"},
		"settings do not matter":                {[]string{"mountPath: /a", "mountPath: /b\nrequireCA: true\nonRotation: Restart"}, "a,b"},
		"both selectors differ":                 {[]string{"namespaceSelector: {matchLabels: {team: red}}\npodSelector: {matchLabels: {app: red}}", "namespaceSelector: {matchLabels: {team: blue}}\npodSelector: {matchLabels: {app: blue}}"}, "a b"},
		"two keys differ":                       {[]string{"podSelector: {matchLabels: {app: red, tier: red}}", "podSelector: {matchLabels: {app: blue, tier: blue}}"}, "a b"},
		"a third would widen another key":       {[]string{"podSelector: {matchLabels: {app: red, tier: red}}", "podSelector: {matchLabels: {app: blue, tier: red}}", "podSelector: {matchLabels: {app: red, tier: blue}}"}, "a,b c"},
		"a selector and none":                   {[]string{"podSelector: {matchLabels: {app: red}}", "{}"}, "a b"},
		"NotIn is not widened":                  {[]string{"podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [red]}]}", "podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [blue]}]}"}, "a b"},
		"another failure policy":                {[]string{"{}", "failurePolicy: Ignore"}, "a b"},
		"other clients":                         {[]string{"{}", "clients: [{image: minio/mc}]"}, "a,b b"},
		"other containers":                      {[]string{"containers: [a]", "containers: [b]"}, "a,b a,b"},
		"the same containers, another way":      {[]string{"containers: [a, b]", "containers: [b, a]"}, "a,b a,b"},
		"every container of different teams":    {[]string{"containers: ['*']\nnamespaceSelector: {matchLabels: {team: red}}", "containers: ['*']\nnamespaceSelector: {matchLabels: {team: blue}}"}, "a,b a,b"},
		"every container, and those with a key": {[]string{"containers: ['*']", "{}"}, "a,b a"},
		"other clients of different teams":      {[]string{"clients: [{image: minio/mc}]\nnamespaceSelector: {matchLabels: {team: red}}", "clients: [{image: rclone}]\nnamespaceSelector: {matchLabels: {team: blue}}"}, "a a b b"},
		"a third would widen what is chosen":    {[]string{"podSelector: {matchLabels: {app: red}}", "podSelector: {matchLabels: {app: blue}}", "podSelector: {matchLabels: {app: red}}\ncontainers: [c]"}, "a,b c c"},
		"more clients than an entry takes":      {[]string{"clients: [{image: a}, {image: b}, {image: c}, {image: d}]", "clients: [{image: e}, {image: f}, {image: g}, {image: h}]", "clients: [{image: i}]"}, "a,b a,b c c"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			entries := Policies(admissionregistrationv1.WebhookClientConfig{}, nil, policies(t, tt.specs...))
			if got := groupsOf(entries); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// An entry that several policies share selects what one of them selects, and no more.
func TestSharedSelectorIsTheUnion(t *testing.T) {
	entries := Policies(admissionregistrationv1.WebhookClientConfig{}, []string{"kube-system"}, policies(t,
		"namespaceSelector: {matchLabels: {team: red, stage: live}}", "namespaceSelector: {matchLabels: {stage: live, team: blue}}"))
	if len(entries) != 1 {
		t.Fatalf("%d entries", len(entries))
	}
	selector, err := metav1.LabelSelectorAsSelector(entries[0].Webhook.NamespaceSelector)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, set := range []string{
		"team=red,stage=live", "team=blue,stage=live", "team=green,stage=live", "team=red", "team=blue,stage=live,s3-tls/inject=false",
		"team=blue,stage=live,s3-tls/inject=true", "team=blue,stage=live,kubernetes.io/metadata.name=kube-system",
	} {
		parsed, err := labels.ConvertSelectorToLabelsMap(set)
		if err != nil {
			t.Fatal(err)
		}
		got[set] = selector.Matches(parsed)
	}
	want := map[string]bool{
		"team=red,stage=live": true, "team=blue,stage=live": true, "team=green,stage=live": false, "team=red": false,
		"team=blue,stage=live,s3-tls/inject=false": false, "team=blue,stage=live,s3-tls/inject=true": false,
		"team=blue,stage=live,kubernetes.io/metadata.name=kube-system": false,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("selected (-want +got):\n%s", diff)
	}
}

// A policy's name may hold dots, and end as an entry's begins its own end.
func TestNamesOfEntriesDiffer(t *testing.T) {
	all := []*v1alpha1.InjectionPolicy{
		policyOf(t, "a", "containers: [x]\npodSelector: {matchLabels: {app: a}}"),
		policyOf(t, "a.labelled", "podSelector: {matchLabels: {app: b, tier: b}}"),
		policyOf(t, "a.labelled-policy", "podSelector: {matchLabels: {app: c, tier: c, zone: c}}"),
		policyOf(t, "a.policy", "containers: [x]\npodSelector: {matchLabels: {zone: d}}"),
	}
	names := map[string]bool{}
	for _, e := range Policies(admissionregistrationv1.WebhookClientConfig{}, nil, all) {
		if names[e.Webhook.Name] {
			t.Errorf("two entries are named %s", e.Webhook.Name)
		}
		names[e.Webhook.Name] = true
	}
	if len(names) != 6 {
		t.Errorf("%d entries, want 6: %v", len(names), names)
	}
	if longest := v1alpha1.MaxPolicyName + len(labelledSuffix); longest > 253 {
		t.Errorf("the name of an entry can have %d characters", longest)
	}
}

// The API server stores objects of at most 1.5 MiB. 200 policies that share no entry
// stay below, with room for what the API server notes of the fields' owner.
func TestManyPoliciesFitIntoOneObject(t *testing.T) {
	const limit = 1_200_000
	var all []*v1alpha1.InjectionPolicy
	for i := range 200 {
		all = append(all, policyOf(t, fmt.Sprintf("team-%03d", i), fmt.Sprintf(
			"namespaceSelector: {matchLabels: {example.com/team: team-%[1]d}}\npodSelector: {matchLabels: {app.kubernetes.io/name: application-%[1]d}}", i)))
	}
	client := admissionregistrationv1.WebhookClientConfig{
		CABundle: make([]byte, 700),
		Service:  &admissionregistrationv1.ServiceReference{Namespace: "s3-tls-injector", Name: "s3-tls-injector", Path: new("/mutate/pods/policies/123456789")},
	}
	configuration := &admissionregistrationv1.MutatingWebhookConfiguration{}
	for _, e := range Policies(client, v1alpha1.ExemptNamespaces(), all) {
		configuration.Webhooks = append(configuration.Webhooks, e.Webhook)
	}
	if len(configuration.Webhooks) != len(all) {
		t.Fatalf("%d entries of %d policies that cannot be merged", len(configuration.Webhooks), len(all))
	}
	t.Logf("%d bytes", configuration.Size())
	if size := configuration.Size(); size > limit {
		t.Errorf("%d bytes, want at most %d", size, limit)
	}
}
