package entry

import (
	"cmp"
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// requirements are a label selector in one form: all of them must hold, an equality is
// an In, and they and their values are in order.
type requirements []requirement

type requirement = metav1.LabelSelectorRequirement

func requirementsOf(selector *metav1.LabelSelector) requirements {
	var all requirements
	if selector == nil {
		return nil
	}
	for _, key := range slices.Sorted(maps.Keys(selector.MatchLabels)) {
		all = append(all, requirement{Key: key, Operator: metav1.LabelSelectorOpIn, Values: []string{selector.MatchLabels[key]}})
	}
	for _, r := range selector.MatchExpressions {
		r.Values = sorted(r.Values)
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b requirement) int {
		return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Operator, b.Operator), slices.Compare(a.Values, b.Values))
	})
	return slices.CompactFunc(all, equal)
}

func sorted(values []string) []string {
	if len(values) == 0 {
		return nil
	}
	return slices.Compact(slices.Sorted(slices.Values(values)))
}

func equal(a, b requirement) bool {
	return a.Key == b.Key && a.Operator == b.Operator && slices.Equal(a.Values, b.Values)
}

// differsAt returns the index of the one requirement in which the two differ,
// and only by the values of an In; -1 where they are equal. They are not alike
// where they differ in more.
func (r requirements) differsAt(other requirements) (index int, alike bool) {
	if len(r) != len(other) {
		return -1, false
	}
	index = -1
	for i := range r {
		if equal(r[i], other[i]) {
			continue
		}
		in := r[i].Key == other[i].Key && r[i].Operator == metav1.LabelSelectorOpIn && other[i].Operator == metav1.LabelSelectorOpIn
		if !in || index >= 0 {
			return -1, false
		}
		index = i
	}
	return index, true
}

// widen adds values to an In.
func (r requirements) widen(index int, values []string) {
	r[index].Values = sorted(slices.Concat(r[index].Values, values))
}
