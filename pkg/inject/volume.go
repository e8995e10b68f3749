package inject

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/settings"
)

// The names of what is added, whatever the settings.
const (
	volumeName = "s3-tls-cert"
	fileName   = "s3-ca.crt"
)

// caVolume is a volume of the pod that holds exactly our CA, and the file in it.
type caVolume struct {
	name string
	file string
}

// newVolume returns the volume for a CA. items names the one key: another key of
// the Secret never reaches the pod, and a missing one is the kubelet's clear
// event instead of an empty directory.
func newVolume(name string, ca settings.CA) corev1.Volume {
	items := []corev1.KeyToPath{{Key: ca.Key, Path: fileName}}
	source := corev1.VolumeSource{}
	switch ca.Kind {
	case settings.Secret:
		source.Secret = &corev1.SecretVolumeSource{SecretName: ca.Name, Items: items}
	case settings.ConfigMap:
		reference := corev1.LocalObjectReference{Name: ca.Name}
		source.ConfigMap = &corev1.ConfigMapVolumeSource{LocalObjectReference: reference, Items: items}
	case settings.ClusterTrustBundle:
		bundle := &corev1.ClusterTrustBundleProjection{Name: &ca.Name, Path: fileName}
		source.Projected = &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{ClusterTrustBundle: bundle}}}
	}
	return corev1.Volume{Name: name, VolumeSource: source}
}

// fileOf returns the file of a volume that holds this CA and nothing else and
// must be there before the pod starts; false for every other volume.
func fileOf(v *corev1.Volume, ca settings.CA) (string, bool) {
	switch {
	case ca.Kind == settings.Secret && v.Secret != nil && v.Secret.SecretName == ca.Name && !isTrue(v.Secret.Optional):
		return onlyItem(v.Secret.Items, ca.Key)
	case ca.Kind == settings.ConfigMap && v.ConfigMap != nil && v.ConfigMap.Name == ca.Name && !isTrue(v.ConfigMap.Optional):
		return onlyItem(v.ConfigMap.Items, ca.Key)
	case ca.Kind == settings.ClusterTrustBundle && v.Projected != nil && len(v.Projected.Sources) == 1:
		bundle := v.Projected.Sources[0].ClusterTrustBundle
		if bundle != nil && bundle.Name != nil && *bundle.Name == ca.Name && !isTrue(bundle.Optional) {
			return bundle.Path, true
		}
	}
	return "", false
}

func onlyItem(items []corev1.KeyToPath, key string) (string, bool) {
	if len(items) != 1 || items[0].Key != key {
		return "", false
	}
	return items[0].Path, true
}

func isTrue(b *bool) bool { return b != nil && *b }

// caVolumes returns the volumes of the pod that hold exactly this CA.
func (p *Pod) caVolumes(ca settings.CA) []caVolume {
	var found []caVolume
	for i := range p.Spec.Volumes {
		if file, ok := fileOf(&p.Spec.Volumes[i], ca); ok {
			found = append(found, caVolume{name: p.Spec.Volumes[i].Name, file: file})
		}
	}
	return found
}

// freeVolumeName returns s3-tls-cert, or s3-tls-cert-2 and so on where the pod
// or its workload's claim templates have that name already. A name that only a
// mount uses is taken too: that mount means another volume, which is missing.
func (p *Pod) freeVolumeName(claimTemplates []string) string {
	taken := slices.Clone(claimTemplates)
	for i := range p.Spec.Volumes {
		taken = append(taken, p.Spec.Volumes[i].Name)
	}
	for _, c := range p.allContainers() {
		for _, m := range c.VolumeMounts {
			taken = append(taken, m.Name)
		}
	}
	name := volumeName
	for n := 2; slices.Contains(taken, name); n++ {
		name = fmt.Sprintf("%s-%d", volumeName, n)
	}
	return name
}
