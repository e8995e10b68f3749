package inject

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Pod is the narrow view of a pod or pod template: the fields that the decision
// reads and no others. Front ends decode it from JSON; nothing is ever written
// back from it, so what it leaves out cannot be lost.
type Pod struct {
	// Metadata is nil where the template has none.
	Metadata *Metadata `json:"metadata,omitempty"`
	Spec     Spec      `json:"spec"`
}

// Metadata is what is read of a pod's metadata. Names and owners are for reports; no
// decision depends on them.
type Metadata struct {
	Name            string                  `json:"name,omitempty"`
	GenerateName    string                  `json:"generateName,omitempty"`
	Labels          map[string]string       `json:"labels,omitempty"`
	Annotations     map[string]string       `json:"annotations,omitempty"`
	OwnerReferences []metav1.OwnerReference `json:"ownerReferences,omitempty"`
}

// Spec is what is read of a pod's spec.
type Spec struct {
	OS             *corev1.PodOS     `json:"os,omitempty"`
	NodeSelector   map[string]string `json:"nodeSelector,omitempty"`
	InitContainers []Container       `json:"initContainers,omitempty"`
	Containers     []Container       `json:"containers,omitempty"`
	Volumes        []corev1.Volume   `json:"volumes,omitempty"`
}

// Container is what is read of a container.
type Container struct {
	Name          string                `json:"name"`
	Image         string                `json:"image,omitempty"`
	Command       []string              `json:"command,omitempty"`
	Args          []string              `json:"args,omitempty"`
	Env           []corev1.EnvVar       `json:"env,omitempty"`
	VolumeMounts  []corev1.VolumeMount  `json:"volumeMounts,omitempty"`
	VolumeDevices []corev1.VolumeDevice `json:"volumeDevices,omitempty"`
}

// Namespace is what is read of the pod's namespace.
type Namespace struct {
	Name        string
	Labels      map[string]string
	Annotations map[string]string
}

// View returns the narrow view of a pod.
func View(p *corev1.Pod) Pod {
	view := Pod{
		Metadata: &Metadata{
			Name: p.Name, GenerateName: p.GenerateName, Labels: p.Labels, Annotations: p.Annotations, OwnerReferences: p.OwnerReferences,
		},
		Spec: Spec{OS: p.Spec.OS, NodeSelector: p.Spec.NodeSelector, Volumes: p.Spec.Volumes},
	}
	for i := range p.Spec.InitContainers {
		view.Spec.InitContainers = append(view.Spec.InitContainers, viewContainer(&p.Spec.InitContainers[i]))
	}
	for i := range p.Spec.Containers {
		view.Spec.Containers = append(view.Spec.Containers, viewContainer(&p.Spec.Containers[i]))
	}
	return view
}

func viewContainer(c *corev1.Container) Container {
	return Container{c.Name, c.Image, c.Command, c.Args, c.Env, c.VolumeMounts, c.VolumeDevices}
}

func (p *Pod) annotations() map[string]string {
	if p.Metadata == nil {
		return nil
	}
	return p.Metadata.Annotations
}

func (p *Pod) labels() map[string]string {
	if p.Metadata == nil {
		return nil
	}
	return p.Metadata.Labels
}

// nameLabel is what recognition reads beside the containers.
func (p *Pod) nameLabel() string { return p.labels()["app.kubernetes.io/name"] }

// containerRef is a container with its place in the pod.
type containerRef struct {
	*Container

	// list is "initContainers" or "containers".
	list  string
	index int
}

// allContainers returns the containers of every kind in the order in which they
// start. Every rule that concerns containers walks this list.
func (p *Pod) allContainers() []containerRef {
	refs := make([]containerRef, 0, len(p.Spec.InitContainers)+len(p.Spec.Containers))
	for i := range p.Spec.InitContainers {
		refs = append(refs, containerRef{&p.Spec.InitContainers[i], "initContainers", i})
	}
	for i := range p.Spec.Containers {
		refs = append(refs, containerRef{&p.Spec.Containers[i], "containers", i})
	}
	return refs
}
