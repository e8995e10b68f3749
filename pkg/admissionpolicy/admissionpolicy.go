// Package admissionpolicy writes the injection as MutatingAdmissionPolicy objects,
// which the API server evaluates by itself: for clusters that want no webhook. It
// does what CEL can; NotExpressed lists the rest.
package admissionpolicy

import (
	"fmt"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/api/v1alpha1"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/entry"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/inject"
)

// NotExpressed lists what the webhook does and these objects do not.
func NotExpressed() []string {
	return []string{
		"refusals: a pod with a mistake in its annotations is admitted without injection, and nothing says so",
		"warnings, events, logs and metrics",
		"checks of the CA: requireCA, expiry, and the annotation " + v1alpha1.CASHA256,
		"replacing pods when the CA changes",
		"settings of a policy for pods that opted in by annotation or by their namespace's label",
		"commands are searched, not parsed: a container counts as an S3 client where a script or an argument names one in another sense",
		"the order of policies that are exported apart from each other",
		"pods with more than 200 containers, 400 words or 16,000 characters of images, commands and arguments are left alone",
	}
}

// Object is a policy with its binding.
type Object struct {
	Policy  admissionregistrationv1.MutatingAdmissionPolicy
	Binding admissionregistrationv1.MutatingAdmissionPolicyBinding
}

// OptIns returns the objects for the two opt-ins: the pod's annotation and the
// namespace's label.
func OptIns() []Object {
	var objects []Object
	for _, webhook := range entry.Static(admissionregistrationv1.WebhookClientConfig{}) {
		source := inject.SourceNamespace
		if webhook.Name == entry.Pod {
			source = inject.SourcePod
		}
		objects = append(objects, newObject(&webhook, &injection{source: source}))
	}
	return objects
}

// OfPolicies returns the objects of valid policies, by name: one for each, which
// leaves alone what one before it selects. In namespaces labelled s3-tls/inject the
// label decides, and OptIns is for them.
func OfPolicies(policies []*v1alpha1.InjectionPolicy) []Object {
	byName := slices.SortedFunc(slices.Values(policies), func(a, b *v1alpha1.InjectionPolicy) int { return strings.Compare(a.Name, b.Name) })
	var objects []Object
	for n, p := range byName {
		entries := entry.Policies(admissionregistrationv1.WebhookClientConfig{}, v1alpha1.ExemptNamespaces(), []*v1alpha1.InjectionPolicy{p})
		objects = append(objects, newObject(&entries[0].Webhook, &injection{source: inject.SourcePolicy(p.Name), policy: &p.Spec, before: byName[:n]}))
	}
	return objects
}

// newObject turns a webhook entry into a policy that mutates the same pods.
func newObject(webhook *admissionregistrationv1.MutatingWebhook, i *injection) Object {
	labels := map[string]string{"app.kubernetes.io/name": "s3-tls-injector"}
	conditions := make([]admissionregistrationv1.MatchCondition, 0, len(webhook.MatchConditions)+1)
	conditions = append(conditions, webhook.MatchConditions...)
	conditions = append(conditions, admissionregistrationv1.MatchCondition{Name: "within-bounds", Expression: withinBounds()})
	if i.source == inject.SourcePod {
		conditions = append(conditions, admissionregistrationv1.MatchCondition{
			Name: "says-true", Expression: fmt.Sprintf("object.metadata.annotations['%s'] == 'true'", v1alpha1.Inject),
		})
	}
	var rules []admissionregistrationv1.NamedRuleWithOperations
	for _, rule := range webhook.Rules {
		rules = append(rules, admissionregistrationv1.NamedRuleWithOperations{RuleWithOperations: rule})
	}
	return Object{
		Policy: admissionregistrationv1.MutatingAdmissionPolicy{
			TypeMeta:   metav1.TypeMeta{APIVersion: "admissionregistration.k8s.io/v1", Kind: "MutatingAdmissionPolicy"},
			ObjectMeta: metav1.ObjectMeta{Name: webhook.Name, Labels: labels},
			Spec: admissionregistrationv1.MutatingAdmissionPolicySpec{
				MatchConstraints: &admissionregistrationv1.MatchResources{
					NamespaceSelector: webhook.NamespaceSelector, ObjectSelector: webhook.ObjectSelector,
					ResourceRules: rules, MatchPolicy: webhook.MatchPolicy,
				},
				MatchConditions:    conditions,
				Variables:          i.variables(),
				FailurePolicy:      webhook.FailurePolicy,
				ReinvocationPolicy: *webhook.ReinvocationPolicy,
				Mutations: []admissionregistrationv1.Mutation{{
					PatchType: admissionregistrationv1.PatchTypeJSONPatch,
					JSONPatch: &admissionregistrationv1.JSONPatch{Expression: i.patch()},
				}},
			},
		},
		Binding: admissionregistrationv1.MutatingAdmissionPolicyBinding{
			TypeMeta:   metav1.TypeMeta{APIVersion: "admissionregistration.k8s.io/v1", Kind: "MutatingAdmissionPolicyBinding"},
			ObjectMeta: metav1.ObjectMeta{Name: webhook.Name, Labels: labels},
			Spec:       admissionregistrationv1.MutatingAdmissionPolicyBindingSpec{PolicyName: webhook.Name},
		},
	}
}
