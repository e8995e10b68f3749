package controller

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/api/v1alpha1"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/ca"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/inject"
)

// caRefresh is how often a CA is judged anew.
const caRefresh = time.Minute

// CAs judges the CAs that policies name. It keeps judgements, never data.
type CAs struct {
	// Reader reads live, so that no Secret is kept.
	Reader client.Reader
	// Names are those of the Secrets and ConfigMaps that may be read.
	Names []string
	// Namespace looks a namespace up.
	Namespace func(ctx context.Context, name string) (inject.Namespace, error)
	// ExemptNamespaces are never injected: what is in them does not matter.
	ExemptNamespaces []string
	Now              func() time.Time

	known map[caSource]*judgements
}

// caSource is what a policy names.
type caSource struct{ kind, name, key string }

func (s caSource) String() string { return fmt.Sprintf("%s %q", s.kind, s.name) }

// judgements are those of all objects of one name.
type judgements struct {
	at  time.Time
	err error
	all []judgement
}

// judgement is that of one object, with the labels of its namespace.
type judgement struct {
	namespace string
	labels    labels.Set
	bundle    ca.Bundle
}

// sourceOf returns what a valid policy names; false where it is not read.
func sourceOf(policy *v1alpha1.InjectionPolicy) (caSource, bool) {
	switch source := policy.Spec.CA; {
	case source.Secret != nil:
		return caSource{"secret", source.Secret.Name, cmp.Or(source.Secret.Key, v1alpha1.DefaultKey)}, true
	case source.ConfigMap != nil:
		return caSource{"configMap", source.ConfigMap.Name, cmp.Or(source.ConfigMap.Key, v1alpha1.DefaultKey)}, true
	}
	return caSource{}, false
}

// condition returns what is known of a policy's CA, in the namespaces that it
// selects, and when the first certificate expires.
func (c *CAs) condition(ctx context.Context, policy *v1alpha1.InjectionPolicy) (metav1.Condition, *metav1.Time) {
	unknown := func(reason, format string, args ...any) (metav1.Condition, *metav1.Time) {
		return metav1.Condition{Status: metav1.ConditionUnknown, Reason: reason, Message: fmt.Sprintf(format, args...)}, nil
	}
	source, ok := sourceOf(policy)
	if !ok {
		return unknown(reasonNotChecked, "a ClusterTrustBundle is not read")
	}
	if !slices.Contains(c.Names, source.name) {
		return unknown(reasonNotAllowed, "the injector may not read %s: start it with --ca-name=%s, and give it the right to list that name", source, source.name)
	}
	found := c.judge(ctx, source)
	if apierrors.IsForbidden(found.err) {
		return unknown(reasonNotAllowed, "the injector has no right to list %s", source)
	}
	if found.err != nil {
		return unknown(reasonNotRead, "read %s: %v", source, found.err)
	}
	selector, err := metav1.LabelSelectorAsSelector(policy.Spec.NamespaceSelector)
	if err != nil || policy.Spec.NamespaceSelector == nil {
		selector = labels.Everything() // a valid policy has no bad one
	}
	selected := map[string]ca.Bundle{}
	for _, j := range found.all {
		if selector.Matches(j.labels) {
			selected[j.namespace] = j.bundle
		}
	}
	return c.summary(source, selected)
}

// judge judges all objects of a name that can matter, at most once within caRefresh.
func (c *CAs) judge(ctx context.Context, source caSource) *judgements {
	if known, ok := c.known[source]; ok && c.Now().Sub(known.at) < caRefresh {
		return known
	}
	found := &judgements{at: c.Now()}
	found.err = c.list(ctx, source, func(namespace string, data []byte, present bool) error {
		if slices.Contains(c.ExemptNamespaces, namespace) {
			return nil
		}
		looked, err := c.Namespace(ctx, namespace)
		if err != nil || looked.Labels[v1alpha1.Inject] == "false" {
			return err
		}
		bundle := ca.Bundle{Problems: []string{fmt.Sprintf("it has no key %q", source.key)}}
		if present {
			bundle = ca.Judge(data, c.Now())
		}
		found.all = append(found.all, judgement{namespace, looked.Labels, bundle})
		return nil
	})
	if c.known == nil {
		c.known = map[caSource]*judgements{}
	}
	c.known[source] = found
	return found
}

// list calls with every object of a name, some hundreds of which it holds at a time.
func (c *CAs) list(ctx context.Context, source caSource, each func(namespace string, data []byte, present bool) error) error {
	const page = 500
	for next := ""; ; {
		options := []client.ListOption{client.MatchingFields{"metadata.name": source.name}, client.Limit(page), client.Continue(next)}
		var err error
		if next, err = c.listPage(ctx, source, options, each); err != nil || next == "" {
			return err
		}
	}
}

func (c *CAs) listPage(ctx context.Context, source caSource, options []client.ListOption, each func(string, []byte, bool) error) (next string, err error) {
	if source.kind == "secret" {
		list := &corev1.SecretList{}
		if err := c.Reader.List(ctx, list, options...); err != nil {
			return "", err
		}
		for i := range list.Items {
			data, present := list.Items[i].Data[source.key]
			if err := each(list.Items[i].Namespace, data, present); err != nil {
				return "", err
			}
		}
		return list.Continue, nil
	}
	list := &corev1.ConfigMapList{}
	if err := c.Reader.List(ctx, list, options...); err != nil {
		return "", err
	}
	for i := range list.Items {
		data, present := list.Items[i].Data[source.key]
		if err := each(list.Items[i].Namespace, []byte(data), present); err != nil {
			return "", err
		}
	}
	return list.Continue, nil
}

// summary is the condition for the objects in the selected namespaces: the first
// namespace by name with a problem speaks for the others.
func (c *CAs) summary(source caSource, selected map[string]ca.Bundle) (metav1.Condition, *metav1.Time) {
	condition := metav1.Condition{Status: metav1.ConditionFalse, Reason: reasonMissing}
	if len(selected) == 0 {
		condition.Message = fmt.Sprintf("no namespace that the policy selects holds %s; pods wait for it", source)
		return condition, nil
	}
	var earliest time.Time
	var bad []string
	for namespace, bundle := range selected {
		if len(bundle.Problems) > 0 {
			bad = append(bad, namespace)
		}
		if !bundle.NotAfter.IsZero() && (earliest.IsZero() || bundle.NotAfter.Before(earliest)) {
			earliest = bundle.NotAfter
		}
	}
	var expiry *metav1.Time
	if !earliest.IsZero() {
		expiry = new(metav1.NewTime(earliest))
	}
	if len(bad) == 0 {
		condition.Status, condition.Reason = metav1.ConditionTrue, reasonValid
		condition.Message = fmt.Sprintf("%s is valid in %s", source, namespaces(len(selected)))
		return condition, expiry
	}
	slices.Sort(bad)
	first := selected[bad[0]]
	condition.Status, condition.Reason = c.verdict(first)
	condition.Message = fmt.Sprintf("%s in namespace %q: %s", source, bad[0], first.Problems[0])
	if more := len(bad) - 1; more > 0 {
		condition.Message += fmt.Sprintf("; problems in %s more", namespaces(more))
	}
	return condition, expiry
}

// verdict tells expiry from other problems. A CA that expires soon is valid still.
func (c *CAs) verdict(bundle ca.Bundle) (metav1.ConditionStatus, string) {
	now := c.Now()
	switch {
	case bundle.NotAfter.IsZero():
		return metav1.ConditionFalse, reasonInvalid
	case now.After(bundle.NotAfter):
		return metav1.ConditionFalse, reasonExpired
	case len(bundle.Problems) == 1 && now.Add(ca.ExpirySoon).After(bundle.NotAfter):
		return metav1.ConditionTrue, reasonExpiresSoon
	}
	return metav1.ConditionFalse, reasonInvalid
}

func namespaces(n int) string {
	if n == 1 {
		return "1 namespace"
	}
	return fmt.Sprintf("%d namespaces", n)
}
