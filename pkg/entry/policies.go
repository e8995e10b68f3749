package entry

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/api/v1alpha1"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/s3client"
)

// What ends the name of a policy's entry, and of the one for labelled namespaces.
const (
	policySuffix   = ".policy.inject.s3-tls"
	labelledSuffix = ".labelled" + policySuffix
)

// Policy is an entry that one or more policies share.
type Policy struct {
	Webhook admissionregistrationv1.MutatingWebhook
	// Policies are those that the entry stands for, by name.
	Policies []*v1alpha1.InjectionPolicy
}

// Policies returns the entries of valid policies, each named after its first
// policy: "thanos.policy.inject.s3-tls". Policies that differ in one requirement of a
// selector alone share an entry, because the API server evaluates every entry for
// every pod, and the object that holds them has a largest size.
//
// No pod is one of theirs that a static entry is for: one that opted in or out
// itself, one in a namespace that opted out or is exempt, and an S3 client of the
// table in a namespace that opted in. For what a policy adds to the table in such
// namespaces there is an entry more: "backups.labelled.policy.inject.s3-tls".
func Policies(client admissionregistrationv1.WebhookClientConfig, exempt []string, policies []*v1alpha1.InjectionPolicy) []Policy {
	byName := slices.SortedFunc(slices.Values(policies), func(a, b *v1alpha1.InjectionPolicy) int { return cmp.Compare(a.Name, b.Name) })
	var groups []*group
	for _, p := range byName {
		for _, next := range newGroups(p) {
			if !slices.ContainsFunc(groups, func(g *group) bool { return g.merge(next) }) {
				groups = append(groups, next)
			}
		}
	}
	entries := make([]Policy, len(groups))
	for i, g := range groups {
		entries[i] = Policy{Webhook: g.webhook(client, exempt), Policies: g.members}
	}
	return entries
}

// group is what an entry is made of.
type group struct {
	members          []*v1alpha1.InjectionPolicy
	namespaces, pods requirements
	condition        string
	suffix           string
	ignore           bool
	// widened is the requirement whose values are those of several policies; the
	// union stays exact only as long as it is the same one.
	widened place
}

// place is a requirement of one of the two selectors.
type place struct {
	selector string
	index    int
}

func newGroups(p *v1alpha1.InjectionPolicy) []*group {
	own := adds(p)
	groups := []*group{newGroup(p, policySuffix, metav1.LabelSelectorOpNotIn, []string{"false", "true"}, wanted(p, own))}
	if own != "" {
		groups = append(groups, newGroup(p, labelledSuffix, metav1.LabelSelectorOpIn, []string{"true"}, fmt.Sprintf("!(%s) &&\n(%s)", hasClient(), own)))
	}
	return groups
}

// newGroup returns a group for the namespaces whose label s3-tls/inject is, or is
// not, among the values.
func newGroup(p *v1alpha1.InjectionPolicy, suffix string, operator metav1.LabelSelectorOperator, values []string, condition string) *group {
	return &group{
		members:    []*v1alpha1.InjectionPolicy{p},
		namespaces: append(requirements{{Key: v1alpha1.Inject, Operator: operator, Values: values}}, requirementsOf(p.Spec.NamespaceSelector)...),
		pods:       requirementsOf(p.Spec.PodSelector),
		condition:  condition,
		suffix:     suffix,
		ignore:     p.Spec.FailurePolicy == string(admissionregistrationv1.Ignore),
	}
}

// adds is true for pods that hold a container which the policy chooses beside those
// of the table. It is empty where it chooses none.
func adds(p *v1alpha1.InjectionPolicy) string {
	switch names := p.Spec.Containers; {
	case slices.Contains(names, v1alpha1.All):
		return "true"
	case len(names) > 0:
		sorted := slices.Sorted(slices.Values(names))
		return fmt.Sprintf("((has(object.spec.initContainers) ? object.spec.initContainers : [])"+
			" + (has(object.spec.containers) ? object.spec.containers : [])).exists(c, c.name in ['%s'])", strings.Join(sorted, "', '"))
	case len(p.Spec.Clients) > 0:
		return s3client.PatternsCEL(patterns(p)...)
	}
	return ""
}

func patterns(p *v1alpha1.InjectionPolicy) []s3client.Pattern {
	all := make([]s3client.Pattern, len(p.Spec.Clients))
	for i, c := range p.Spec.Clients {
		all[i] = s3client.Pattern(c)
	}
	return all
}

// wanted is true for pods that hold a container for the CA, and for those that
// name their containers themselves. It is empty where that is every pod.
func wanted(p *v1alpha1.InjectionPolicy, adds string) string {
	_, named := annotation(v1alpha1.Containers)
	switch {
	case adds == "true":
		return ""
	case len(p.Spec.Containers) > 0:
		return fmt.Sprintf("(%s) ||\n%s", named, adds)
	}
	return fmt.Sprintf("(%s) ||\n%s", named, s3client.CEL(patterns(p)...))
}

// merge takes another group in where one entry can stand for both exactly.
func (g *group) merge(other *group) bool {
	if g.condition != other.condition || g.suffix != other.suffix || g.ignore != other.ignore {
		return false
	}
	namespaces, namespacesAlike := g.namespaces.differsAt(other.namespaces)
	pods, podsAlike := g.pods.differsAt(other.pods)
	at := place{}
	switch {
	case !namespacesAlike || !podsAlike || (namespaces >= 0 && pods >= 0):
		return false
	case namespaces >= 0:
		at = place{"namespaces", namespaces}
	case pods >= 0:
		at = place{"pods", pods}
	}
	if at != (place{}) {
		if g.widened != (place{}) && g.widened != at {
			return false
		}
		g.widened = at
		if namespaces >= 0 {
			g.namespaces.widen(namespaces, other.namespaces[namespaces].Values)
		} else {
			g.pods.widen(pods, other.pods[pods].Values)
		}
	}
	g.members = append(g.members, other.members...)
	return true
}

func (g *group) webhook(client admissionregistrationv1.WebhookClientConfig, exempt []string) admissionregistrationv1.MutatingWebhook {
	_, decided := annotation(v1alpha1.Inject)
	w := newEntry(g.members[0].Name+g.suffix, client, exempt)
	w.NamespaceSelector.MatchExpressions = append(w.NamespaceSelector.MatchExpressions, g.namespaces...)
	w.ObjectSelector = &metav1.LabelSelector{MatchExpressions: g.pods} // as the API server would set it
	if g.ignore {
		w.FailurePolicy = new(admissionregistrationv1.Ignore)
	}
	w.MatchConditions = append(w.MatchConditions, condition("not-decided-by-the-pod", fmt.Sprintf("!(%s)", decided)))
	if g.condition != "" {
		w.MatchConditions = append(w.MatchConditions, condition("has-s3-client", g.condition))
	}
	return w
}
