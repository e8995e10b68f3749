package entry

import (
	"cmp"
	"slices"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/api/v1alpha1"
)

// What ends the name of a policy's entry, and of the one for labelled namespaces.
// Neither is the end of the other, as a policy's name may hold dots.
const (
	policySuffix   = ".policy.inject.s3-tls"
	labelledSuffix = ".labelled-policy.inject.s3-tls"
)

// Policy is an entry that one or more policies share.
type Policy struct {
	Webhook admissionregistrationv1.MutatingWebhook
	// Policies are those that the entry stands for, by name.
	Policies []*v1alpha1.InjectionPolicy
}

// Policies returns the entries of valid policies, each named after its first
// policy: "thanos.policy.inject.s3-tls". Policies that differ in one requirement of a
// selector alone, or in the containers that they choose, share an entry, because the
// API server evaluates every entry for every pod, and the object that holds them has
// a largest size.
//
// No pod is one of theirs that a static entry is for: one that opted in or out
// itself, one in a namespace that opted out or is exempt, and an S3 client of the
// table in a namespace that opted in. For what a policy adds to the table in such
// namespaces there is an entry more: "backups.labelled-policy.inject.s3-tls".
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
	choice           choice
	suffix           string
	ignore           bool
	// widened is where several policies differ; the union stays exact only as long
	// as it is the same place.
	widened place
}

// place is a requirement of one of the two selectors, or the choice.
type place struct {
	part  string
	index int
}

func newGroups(p *v1alpha1.InjectionPolicy) []*group {
	chosen := choiceOf(p)
	groups := []*group{newGroup(p, policySuffix, metav1.LabelSelectorOpNotIn, []string{"false", "true"}, chosen)}
	if added, something := chosen.beyondTable(); something {
		groups = append(groups, newGroup(p, labelledSuffix, metav1.LabelSelectorOpIn, []string{"true"}, added))
	}
	return groups
}

// newGroup returns a group for the namespaces whose label s3-tls/inject is, or is
// not, among the values.
func newGroup(p *v1alpha1.InjectionPolicy, suffix string, operator metav1.LabelSelectorOperator, values []string, chosen choice) *group {
	return &group{
		members:    []*v1alpha1.InjectionPolicy{p},
		namespaces: append(requirements{{Key: v1alpha1.Inject, Operator: operator, Values: values}}, requirementsOf(p.Spec.NamespaceSelector)...),
		pods:       requirementsOf(p.Spec.PodSelector),
		choice:     chosen,
		suffix:     suffix,
		ignore:     p.Spec.FailurePolicy == string(admissionregistrationv1.Ignore),
	}
}

// merge takes another group in where one entry can stand for both exactly.
func (g *group) merge(other *group) bool {
	if g.suffix != other.suffix || g.ignore != other.ignore {
		return false
	}
	differences, alike := g.differences(other)
	if !alike || len(differences) > 1 {
		return false
	}
	for _, at := range differences {
		if g.widened != (place{}) && g.widened != at {
			return false
		}
		if !g.widen(at, other) {
			return false
		}
		g.widened = at
	}
	g.members = append(g.members, other.members...)
	return true
}

// differences returns where the two differ. They are not alike where a selector
// differs in more than the values of one requirement.
func (g *group) differences(other *group) (all []place, alike bool) {
	namespaces, namespacesAlike := g.namespaces.differsAt(other.namespaces)
	pods, podsAlike := g.pods.differsAt(other.pods)
	if namespaces >= 0 {
		all = append(all, place{"namespaces", namespaces})
	}
	if pods >= 0 {
		all = append(all, place{"pods", pods})
	}
	if !g.choice.equal(other.choice) {
		all = append(all, place{"choice", 0})
	}
	return all, namespacesAlike && podsAlike
}

// widen makes the group stand for what the other one selects at a place too; false
// where that would be too much for one entry.
func (g *group) widen(at place, other *group) bool {
	switch at.part {
	case "namespaces":
		g.namespaces.widen(at.index, other.namespaces[at.index].Values)
	case "pods":
		g.pods.widen(at.index, other.pods[at.index].Values)
	default:
		union, fits := g.choice.union(other.choice)
		if !fits {
			return false
		}
		g.choice = union
	}
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
	w.MatchConditions = append(w.MatchConditions, condition("not-decided-by-the-pod", "!("+decided+")"))
	if expression := g.choice.cel(); expression != "" {
		w.MatchConditions = append(w.MatchConditions, condition("has-s3-client", expression))
	}
	return w
}
