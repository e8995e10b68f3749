package inject

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/api/v1alpha1"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/s3client"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/settings"
)

// Policy is an InjectionPolicy made ready for decisions.
type Policy struct {
	name       string
	namespaces labels.Selector
	pods       labels.Selector
	clients    []s3client.Pattern
	requireCA  bool
	level      settings.Level
}

// NewPolicy compiles a policy. The error joins all its mistakes; the policy is
// usable beside it where only settings are wrong: it then selects pods, which
// are admitted without injection and with a warning.
func NewPolicy(p *v1alpha1.InjectionPolicy) (Policy, error) {
	namespaces, namespaceErr := selector(p.Name, "namespaceSelector", p.Spec.NamespaceSelector)
	pods, podErr := selector(p.Name, "podSelector", p.Spec.PodSelector)
	policy := Policy{name: p.Name, namespaces: namespaces, pods: pods, requireCA: p.Spec.RequireCA, level: settings.OfPolicy(p)}
	for _, c := range p.Spec.Clients {
		policy.clients = append(policy.clients, s3client.Pattern(c))
	}
	errs := []error{namespaceErr, podErr}
	if len(apivalidation.NameIsDNSSubdomain(p.Name, false)) > 0 {
		errs = append(errs, fmt.Errorf("policy %q: metadata.name is no valid name", p.Name))
	}
	for _, m := range policy.level.Mistakes() {
		errs = append(errs, errors.New(m.Text))
	}
	return policy, errors.Join(errs...)
}

// selector compiles a label selector; absent, it selects everything, and a bad
// one nothing.
func selector(policy, field string, s *metav1.LabelSelector) (labels.Selector, error) {
	if s == nil {
		return labels.Everything(), nil
	}
	compiled, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return labels.Nothing(), fmt.Errorf("policy %q: spec.%s: %w", policy, field, err)
	}
	return compiled, nil
}

func (p *Policy) source() string { return SourcePolicy(p.name) }

// firstSelecting returns the policy, first by name, that selects the pod.
func firstSelecting(policies []Policy, in *Input) *Policy {
	var first *Policy
	namespaceLabels, podLabels := labels.Set(in.Namespace.Labels), labels.Set(in.Pod.labels())
	for i := range policies {
		p := &policies[i]
		if (first == nil || p.name < first.name) && p.namespaces.Matches(namespaceLabels) && p.pods.Matches(podLabels) {
			first = p
		}
	}
	return first
}

// ExplainPolicies says of each policy, by name, whether it selects the pod, and by
// which selector: `policy "backups" does not select it: podSelector app=backup`.
func ExplainPolicies(in Input) []string {
	policies := slices.Clone(in.Policies)
	slices.SortFunc(policies, func(a, b Policy) int { return strings.Compare(a.name, b.name) })
	namespaceLabels, podLabels := labels.Set(in.Namespace.Labels), labels.Set(in.Pod.labels())
	var explained []string
	first := ""
	for _, p := range policies {
		switch {
		case !p.namespaces.Matches(namespaceLabels):
			explained = append(explained, policyNotSelecting(p.name, "namespaceSelector", p.namespaces))
		case !p.pods.Matches(podLabels):
			explained = append(explained, policyNotSelecting(p.name, "podSelector", p.pods))
		case first == "":
			first = p.name
			explained = append(explained, policySelecting(p.name, p.namespaces, p.pods))
		default:
			explained = append(explained, policyBehind(p.name, first))
		}
	}
	return explained
}

// choose returns the containers that are to carry the CA, and the rule by which.
func choose(in *Input, with *settings.Settings, policy *Policy, source string) ([]containerRef, string) {
	all := in.Pod.allContainers()
	if slices.Contains(with.Containers, v1alpha1.All) {
		return all, ruleAll
	}
	if len(with.Containers) > 0 {
		return filter(all, func(c containerRef) bool { return slices.Contains(with.Containers, c.Name) }), ruleNamed
	}
	nameLabel := in.Pod.nameLabel()
	clients := filter(all, func(c containerRef) bool {
		return s3client.IsClient(c.recognisable(), nameLabel) || policy.knows(c.recognisable())
	})
	if len(clients) > 0 || source != SourcePod {
		return clients, ruleClients
	}
	return filter(all, func(c containerRef) bool {
		return c.list == "containers" && !s3client.IsHelper(c.recognisable())
	}), ruleNoHelpers
}

func (p *Policy) knows(c s3client.Container) bool {
	return p != nil && slices.ContainsFunc(p.clients, func(pattern s3client.Pattern) bool { return pattern.Matches(c) })
}

func (c containerRef) recognisable() s3client.Container {
	return s3client.Container{Name: c.Name, Image: c.Image, Command: c.Command, Args: c.Args}
}

func filter(refs []containerRef, keep func(containerRef) bool) []containerRef {
	var kept []containerRef
	for _, ref := range refs {
		if keep(ref) {
			kept = append(kept, ref)
		}
	}
	return kept
}

func names(refs []containerRef) []string {
	names := make([]string, len(refs))
	for i, ref := range refs {
		names[i] = ref.Name
	}
	return names
}
