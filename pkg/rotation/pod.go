// Package rotation replaces pods whose CA has changed: a CA is read when a process
// starts, so that a pod that runs goes on with the old one. It decides which pod is
// replaced when, carefully: one at a time of each workload, the next when the new one is
// ready, and none that nothing would create again. It replaces by eviction alone, so
// that PodDisruptionBudgets count, and changes no workload.
package rotation

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/api/v1alpha1"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/inject"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/podinfo"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/settings"
)

// Pod is what is kept of an injected pod.
type Pod struct {
	types.NamespacedName

	UID types.UID
	// Metadata holds what settings depend on.
	Metadata inject.Metadata
	// Owner created it and would create another one; nil where nothing would.
	Owner *metav1.OwnerReference
	// Workload is what the pod is one of several of: "StatefulSet/thanos-store".
	Workload string
	// CA is what it carries.
	CA settings.CA
	podinfo.Carried
	// Ready, Ending and Finished tell how it is; a finished pod runs no more.
	Ready, Ending, Finished bool
	// Ends is when one that is ending has to have ended.
	Ends time.Time
	// Alone: it must end before another one starts.
	Alone bool
	// Once: it is not meant to run again when it has ended.
	Once bool
}

// reduce keeps of a pod what rotation needs; nothing of one that carries no CA.
func reduce(object any) (*Pod, bool) {
	p, ok := object.(*corev1.Pod)
	if !ok || p.Annotations[v1alpha1.InjectedBy] == "" {
		return nil, false
	}
	view := inject.View(p)
	ca, carries := view.CarriedCA()
	if !carries {
		return nil, false
	}
	owner := metav1.GetControllerOfNoCopy(p)
	pod := &Pod{
		NamespacedName: types.NamespacedName{Namespace: p.Namespace, Name: p.Name},
		UID:            p.UID,
		Metadata:       inject.Metadata{Labels: p.Labels, Annotations: map[string]string{}},
		Workload:       podinfo.Workload(p),
		CA:             ca,
		Carried:        podinfo.Carried{SHA256: p.Annotations[v1alpha1.CASHA256], Started: podinfo.Started(p)},
		Ready:          podinfo.IsReady(p),
		Ending:         p.DeletionTimestamp != nil,
		Finished:       p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed,
		Alone:          view.IsSingleton(),
		Once:           p.Spec.RestartPolicy != "" && p.Spec.RestartPolicy != corev1.RestartPolicyAlways,
	}
	for key, value := range p.Annotations {
		if strings.HasPrefix(key, v1alpha1.Prefix) {
			pod.Metadata.Annotations[key] = value
		}
	}
	if pod.Ending {
		pod.Ends = p.DeletionTimestamp.Time
	}
	if owner != nil {
		copied := *owner
		pod.Owner = &copied
	}
	return pod, true
}

// kept says why a pod is not replaced though it asks for it, or nothing.
func (p *Pod) kept() string {
	switch {
	case p.Owner == nil:
		return "nothing would create the pod again; delete and create it to give it the new CA"
	case p.Owner.Kind == "Job":
		return "a Job counts an evicted pod as a failure; its next pod has the new CA"
	case p.Owner.Kind == "Node":
		return "the pod belongs to its node"
	case p.Once:
		return "the pod runs once, and its owner would count it as a failure"
	case p.Alone && p.Owner.Kind != "StatefulSet":
		return "two Thanos compactors would run for a moment; run it as a StatefulSet, or scale it to 0 and back"
	}
	return ""
}
