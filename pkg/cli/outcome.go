package cli

import (
	"fmt"
	"slices"
	"strings"

	"gomodules.xyz/jsonpatch/v2"
	corev1 "k8s.io/api/core/v1"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/inject"
)

// outcome says what is done to one container.
type outcome struct {
	name string
	kind string
	// done is what is added, or why nothing is.
	done string
}

// outcomes says for each container of the template what the answer does to it.
func (it item) outcomes() []outcome {
	var outcomes []outcome
	add := func(list, kind string, containers []inject.Container) {
		for i, c := range containers {
			outcomes = append(outcomes, outcome{c.Name, kind, it.done(c.Name, fmt.Sprintf("/spec/%s/%d/", list, i))})
		}
	}
	add("initContainers", "init", it.Pod.Spec.InitContainers)
	add("containers", "regular", it.Pod.Spec.Containers)
	return outcomes
}

// done reads what is added to the container at a pointer off the operations.
func (it item) done(name, pointer string) string {
	var added []string
	for _, op := range it.result.Patch {
		if strings.HasPrefix(op.Path, pointer) {
			added = append(added, additions(op)...)
		}
	}
	switch {
	case len(added) > 0:
		return "added " + strings.Join(added, ", ")
	case slices.Contains(it.result.Containers, name):
		return "has everything already"
	case it.result.Decision == inject.Refused:
		return "nothing, the pod is refused"
	case slices.Contains(it.result.Chosen, name):
		return "nothing, its own settings stand in the way"
	default:
		return "nothing"
	}
}

func additions(op jsonpatch.Operation) []string {
	switch value := op.Value.(type) {
	case corev1.VolumeMount:
		return []string{"mount " + value.MountPath}
	case []corev1.VolumeMount:
		return []string{"mount " + value[0].MountPath} // a container is given one
	case corev1.EnvVar:
		return []string{value.Name + "=" + value.Value}
	case []corev1.EnvVar:
		var added []string
		for _, v := range value {
			added = append(added, v.Name+"="+v.Value)
		}
		return added
	}
	return nil
}
