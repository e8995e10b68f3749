package controller

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/api/v1alpha1"
)

// mayOverlap tells whether there can be a pod that both policies select. It reads
// the selectors alone: whether there is one today does not matter.
func mayOverlap(a, b *v1alpha1.InjectionPolicy) bool {
	return satisfiable(a.Spec.NamespaceSelector, b.Spec.NamespaceSelector) && satisfiable(a.Spec.PodSelector, b.Spec.PodSelector)
}

// allowed is what requirements leave of one label.
type allowed struct {
	in        []string // nil: any value
	notIn     []string
	mustExist bool
	mustNot   bool
}

// satisfiable tells whether labels can match all selectors at once.
func satisfiable(selectors ...*metav1.LabelSelector) bool {
	labels := map[string]*allowed{}
	for _, s := range selectors {
		if s == nil {
			continue
		}
		for key, value := range s.MatchLabels {
			of(labels, key).require(metav1.LabelSelectorOpIn, []string{value})
		}
		for _, r := range s.MatchExpressions {
			of(labels, r.Key).require(r.Operator, r.Values)
		}
	}
	for _, a := range labels {
		if !a.possible() {
			return false
		}
	}
	return true
}

func of(labels map[string]*allowed, key string) *allowed {
	if labels[key] == nil {
		labels[key] = &allowed{}
	}
	return labels[key]
}

func (a *allowed) require(operator metav1.LabelSelectorOperator, values []string) {
	switch operator {
	case metav1.LabelSelectorOpIn:
		if a.in == nil {
			a.in = append([]string{}, values...)
		} else {
			a.in = slices.DeleteFunc(a.in, func(v string) bool { return !slices.Contains(values, v) })
		}
		a.mustExist = true
	case metav1.LabelSelectorOpNotIn:
		a.notIn = append(a.notIn, values...)
	case metav1.LabelSelectorOpExists:
		a.mustExist = true
	case metav1.LabelSelectorOpDoesNotExist:
		a.mustNot = true
	}
}

func (a *allowed) possible() bool {
	if a.mustExist && a.mustNot {
		return false
	}
	return a.in == nil || slices.ContainsFunc(a.in, func(v string) bool { return !slices.Contains(a.notIn, v) })
}
