package inject

import (
	"fmt"
	"slices"
	"strings"

	"gomodules.xyz/jsonpatch/v2"
	corev1 "k8s.io/api/core/v1"
)

// Outcome says what is done to one container.
type Outcome struct {
	Name string
	// Kind is "init" or "regular".
	Kind string
	// Done is what is added, or why nothing is.
	Done string
}

// Outcomes says for each container of the pod what the result does to it.
func (r *Result) Outcomes(pod *Pod) []Outcome {
	var outcomes []Outcome
	for _, c := range pod.allContainers() {
		o := Outcome{Name: c.Name, Kind: "regular", Done: r.done(c)}
		if c.list == "initContainers" {
			o.Kind = "init"
		}
		outcomes = append(outcomes, o)
	}
	return outcomes
}

func (r *Result) done(c containerRef) string {
	var added []string
	for _, op := range r.Patch {
		if strings.HasPrefix(op.Path, c.pointer("")) {
			added = append(added, additions(op)...)
		}
	}
	switch {
	case len(added) > 0:
		return "added " + strings.Join(added, ", ")
	case slices.Contains(r.Containers, c.Name):
		return "has everything already"
	case r.Decision == Refused:
		return "nothing, the pod is refused"
	case r.chosen[c.Name]:
		return "nothing, its own settings stand in the way"
	default:
		return "nothing"
	}
}

func additions(op jsonpatch.Operation) []string {
	var added []string
	mount := func(m corev1.VolumeMount) { added = append(added, "mount "+m.MountPath) }
	variable := func(v corev1.EnvVar) { added = append(added, fmt.Sprintf("%s=%s", v.Name, v.Value)) }
	switch value := op.Value.(type) {
	case corev1.VolumeMount:
		mount(value)
	case []corev1.VolumeMount:
		for _, m := range value {
			mount(m)
		}
	case corev1.EnvVar:
		variable(value)
	case []corev1.EnvVar:
		for _, v := range value {
			variable(v)
		}
	}
	return added
}
