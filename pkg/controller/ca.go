package controller

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/api/v1alpha1"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/ca"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/inject"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/observed"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/settings"
)

// CABundles are the CAs of the cluster.
type CABundles interface {
	// All returns the bundles of a CA by namespace; nothing where an object lacks the key.
	All(what settings.CA) (iter.Seq2[string, *ca.Bundle], observed.State)
	// Changed returns a channel that is closed at the next change.
	Changed() <-chan struct{}
}

// CAs tells what is known of the CAs that policies name.
type CAs struct {
	Bundles CABundles
	// Namespace looks a namespace up.
	Namespace func(ctx context.Context, name string) (inject.Namespace, error)
	// ExemptNamespaces are never injected: what is in them does not matter.
	ExemptNamespaces []string
	Now              func() time.Time

	known map[settings.CA]*judgedCA
}

// judgedCA is a CA in all namespaces in which pods can be injected.
type judgedCA struct {
	state observed.State
	all   []located
}

// located is the CA of one namespace.
type located struct {
	namespace string
	labels    labels.Set
	judgement ca.Judgement
}

// begin forgets what was looked up. Until the next call, all policies that name a CA
// see the same.
func (c *CAs) begin() { c.known = map[settings.CA]*judgedCA{} }

// SourceOf returns the CA that a valid policy names; false where it is not read.
func SourceOf(policy *v1alpha1.InjectionPolicy) (settings.CA, bool) {
	switch source := policy.Spec.CA; {
	case source.Secret != nil:
		return settings.CA{Kind: settings.Secret, Name: source.Secret.Name, Key: cmp.Or(source.Secret.Key, v1alpha1.DefaultKey)}, true
	case source.ConfigMap != nil:
		return settings.CA{Kind: settings.ConfigMap, Name: source.ConfigMap.Name, Key: cmp.Or(source.ConfigMap.Key, v1alpha1.DefaultKey)}, true
	}
	return settings.CA{}, false
}

// SourcesOf returns the CAs that policies name.
func SourcesOf(policies []*v1alpha1.InjectionPolicy) []settings.CA {
	var all []settings.CA
	for _, p := range policies {
		if source, ok := SourceOf(p); ok {
			all = append(all, source)
		}
	}
	return all
}

// condition returns what is known of a policy's CA, in the namespaces that it
// selects, and when the next CA expires.
func (c *CAs) condition(ctx context.Context, policy *v1alpha1.InjectionPolicy) (metav1.Condition, *metav1.Time) {
	unknown := func(reason, format string, args ...any) (metav1.Condition, *metav1.Time) {
		return metav1.Condition{Status: metav1.ConditionUnknown, Reason: reason, Message: fmt.Sprintf(format, args...)}, nil
	}
	source, ok := SourceOf(policy)
	if !ok {
		return unknown(reasonNotChecked, "a ClusterTrustBundle is not read")
	}
	found := c.judge(ctx, source)
	switch found.state { //nolint:exhaustive // what follows is for Synced
	case observed.Denied:
		return unknown(reasonNotAllowed, "the injector has no right to watch %s; give it get, list and watch of that name", describe(source))
	case observed.Starting:
		return unknown(reasonNotRead, "%s is not read yet", describe(source))
	}
	selector, err := metav1.LabelSelectorAsSelector(policy.Spec.NamespaceSelector)
	if err != nil || policy.Spec.NamespaceSelector == nil {
		selector = labels.Everything() // a valid policy has no bad one
	}
	selected := map[string]ca.Judgement{}
	for i := range found.all {
		if selector.Matches(found.all[i].labels) {
			selected[found.all[i].namespace] = found.all[i].judgement
		}
	}
	return summary(source, selected)
}

// judge judges a CA in every namespace in which pods can be injected.
func (c *CAs) judge(ctx context.Context, source settings.CA) *judgedCA {
	if known := c.known[source]; known != nil {
		return known
	}
	bundles, state := c.Bundles.All(source)
	found := &judgedCA{state: state}
	c.known[source] = found
	judged, now := map[*ca.Bundle]ca.Judgement{}, c.Now() // the same file is often in many namespaces
	for namespace, bundle := range bundles {
		if slices.Contains(c.ExemptNamespaces, namespace) {
			continue
		}
		looked, err := c.Namespace(ctx, namespace)
		if err != nil || looked.Labels[v1alpha1.Inject] == "false" {
			continue // a namespace that is gone takes its CA with it
		}
		if _, ok := judged[bundle]; !ok {
			judged[bundle] = judgeBundle(bundle, source, now)
		}
		found.all = append(found.all, located{namespace, looked.Labels, judged[bundle]})
	}
	return found
}

func judgeBundle(bundle *ca.Bundle, source settings.CA, now time.Time) ca.Judgement {
	if bundle == nil {
		return ca.Absent("", fmt.Sprintf("it has no key %q", source.Key))
	}
	return bundle.Judge("", now)
}

func describe(source settings.CA) string { return fmt.Sprintf("%s %q", source.Kind, source.Name) }

// severity orders verdicts, the worst last.
func severity(v ca.Verdict) int {
	return slices.Index([]ca.Verdict{ca.Valid, ca.ExpiresSoon, ca.Invalid, ca.Missing, ca.Expired}, v)
}

// summary is the condition for the objects in the selected namespaces. The worst
// one speaks for the others, and of equals the first namespace by name.
func summary(source settings.CA, selected map[string]ca.Judgement) (metav1.Condition, *metav1.Time) {
	condition := metav1.Condition{Status: metav1.ConditionFalse, Reason: reasonMissing}
	if len(selected) == 0 {
		condition.Message = fmt.Sprintf("no namespace that the policy selects holds %s; pods wait for it", describe(source))
		return condition, nil
	}
	var earliest time.Time
	worst, troubled := "", 0
	for namespace, j := range selected {
		if len(j.Problems) > 0 {
			troubled++
		}
		if at := j.NextExpiry; !at.IsZero() && (earliest.IsZero() || at.Before(earliest)) {
			earliest = at
		}
		order := cmp.Or(-cmp.Compare(severity(j.Verdict), severity(selected[worst].Verdict)),
			-cmp.Compare(len(j.Problems), len(selected[worst].Problems)), cmp.Compare(namespace, worst))
		if worst == "" || order < 0 {
			worst = namespace
		}
	}
	var expiry *metav1.Time
	if !earliest.IsZero() {
		expiry = new(metav1.NewTime(earliest))
	}
	j := selected[worst]
	condition.Reason = reasonFor(j.Verdict)
	if j.Verdict.Trusted() {
		condition.Status = metav1.ConditionTrue
	}
	if len(j.Problems) == 0 {
		condition.Message = fmt.Sprintf("%s is valid in %s", describe(source), namespaces(len(selected)))
		return condition, expiry
	}
	condition.Message = fmt.Sprintf("%s in namespace %q: %s", describe(source), worst, j.Problems[0].Text)
	if more := troubled - 1; more > 0 {
		condition.Message += fmt.Sprintf("; problems in %s more", namespaces(more))
	}
	return condition, expiry
}

func reasonFor(v ca.Verdict) string {
	switch v {
	case ca.Valid:
		return reasonValid
	case ca.ExpiresSoon:
		return reasonExpiresSoon
	case ca.Expired:
		return reasonExpired
	case ca.Missing, ca.Invalid:
	}
	return reasonInvalid
}

func namespaces(n int) string {
	if n == 1 {
		return "1 namespace"
	}
	return fmt.Sprintf("%d namespaces", n)
}
