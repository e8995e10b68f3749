// Package entry builds the webhook entries by which the API server calls the
// injector. Each carries a filter that the API server evaluates itself, so that
// an outage of the injector touches only pods that it would have injected.
package entry

import (
	"fmt"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/api/v1alpha1"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/s3client"
)

// Names of the static entries.
const (
	Pod       = "pod.inject.s3-tls"
	Namespace = "namespace.inject.s3-tls"
)

const timeoutSeconds = 5

// annotation renders the lookup of a pod annotation, and whether it is there.
func annotation(key string) (value, present string) {
	value = fmt.Sprintf("object.metadata.annotations['%s']", key)
	return value, fmt.Sprintf("has(object.metadata.annotations) && '%s' in object.metadata.annotations", key)
}

// Static returns the two entries that are installed with the server: for pods
// that opted in themselves, and for S3 clients in namespaces that did.
func Static(client admissionregistrationv1.WebhookClientConfig) []admissionregistrationv1.MutatingWebhook {
	value, present := annotation(v1alpha1.Inject)
	pod := newEntry(Pod, client, v1alpha1.ExemptNamespaces())
	pod.MatchConditions = append(pod.MatchConditions,
		condition("opted-in", fmt.Sprintf("%s && %s != 'false'", present, value)))
	namespace := newEntry(Namespace, client, v1alpha1.ExemptNamespaces())
	namespace.NamespaceSelector.MatchLabels = map[string]string{v1alpha1.Inject: "true"}
	namespace.MatchConditions = append(namespace.MatchConditions,
		condition("not-decided-by-the-pod", fmt.Sprintf("!(%s)", present)),
		condition("has-s3-client", hasClient()))
	return []admissionregistrationv1.MutatingWebhook{pod, namespace}
}

// hasClient is true for pods that hold an S3 client of the table or name their
// containers themselves.
func hasClient() string {
	_, named := annotation(v1alpha1.Containers)
	return fmt.Sprintf("(%s) ||\n%s", named, s3client.CEL())
}

// newEntry returns what all entries have in common.
func newEntry(name string, client admissionregistrationv1.WebhookClientConfig, exempt []string) admissionregistrationv1.MutatingWebhook {
	_, mirror := annotation("kubernetes.io/config.mirror")
	return admissionregistrationv1.MutatingWebhook{
		Name:         name,
		ClientConfig: client,
		Rules: []admissionregistrationv1.RuleWithOperations{{
			Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
			Rule: admissionregistrationv1.Rule{
				APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"},
				Scope: new(admissionregistrationv1.NamespacedScope),
			},
		}},
		NamespaceSelector:       &metav1.LabelSelector{MatchExpressions: requirements{notAmong(exempt)}},
		FailurePolicy:           new(admissionregistrationv1.Fail),
		MatchPolicy:             new(admissionregistrationv1.Equivalent),
		SideEffects:             new(admissionregistrationv1.SideEffectClassNoneOnDryRun),
		ReinvocationPolicy:      new(admissionregistrationv1.IfNeededReinvocationPolicy),
		TimeoutSeconds:          new(int32(timeoutSeconds)),
		AdmissionReviewVersions: []string{"v1"},
		MatchConditions: []admissionregistrationv1.MatchCondition{
			condition("linux", "!(has(object.spec.os) && object.spec.os.name == 'windows') && "+
				"!(has(object.spec.nodeSelector) && 'kubernetes.io/os' in object.spec.nodeSelector && "+
				"object.spec.nodeSelector['kubernetes.io/os'] == 'windows')"),
			condition("no-mirror-pod", fmt.Sprintf("!(%s)", mirror)),
		},
	}
}

// notAmong excludes namespaces by name.
func notAmong(namespaces []string) requirement {
	return requirement{Key: "kubernetes.io/metadata.name", Operator: metav1.LabelSelectorOpNotIn, Values: namespaces}
}

func condition(name, expression string) admissionregistrationv1.MatchCondition {
	return admissionregistrationv1.MatchCondition{Name: name, Expression: expression}
}
