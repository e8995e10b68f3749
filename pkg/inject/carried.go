package inject

import (
	"cmp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/s3client"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/settings"
)

// SettingsOf returns the settings that take effect for a pod that is opted in. Bad
// ones count as if they were not there.
func SettingsOf(in Input) settings.Settings {
	merged, _, _ := mergeSettings(&in, firstSelecting(in.Policies, &in))
	return merged
}

// OptedIn tells whether a pod would be injected if it were created now.
func OptedIn(in Input) bool { return optIn(&in, firstSelecting(in.Policies, &in)).Decision == Injected }

// IsSingleton tells whether the pod holds an S3 client of which two must never run at once.
func (p *Pod) IsSingleton() bool {
	return slices.ContainsFunc(p.allContainers(), func(c containerRef) bool {
		return c.list == "containers" && s3client.IsSingleton(c.recognisable(), p.nameLabel())
	})
}

// CarriedCA returns the CA that an injected pod carries: that of our volume, or else of a volume
// of one file that a container mounts as a file, first of one whose path a variable names.
func (p *Pod) CarriedCA() (settings.CA, bool) {
	var mounted, named settings.CA
	for i := range p.Spec.Volumes {
		v := &p.Spec.Volumes[i]
		ca, file := sourceOf(v)
		if file == "" {
			continue
		}
		switch isMounted, isNamed := p.mountsFile(v.Name, file); {
		case !isMounted:
		case strings.HasPrefix(v.Name, volumeName) && file == fileName:
			return ca, true
		case isNamed && named == settings.CA{}:
			named = ca
		case mounted == settings.CA{}:
			mounted = ca
		}
	}
	found := cmp.Or(named, mounted)
	return found, found != settings.CA{}
}

// sourceOf returns what a volume of one file holds, and the name of the file.
func sourceOf(v *corev1.Volume) (ca settings.CA, file string) {
	switch {
	case v.Secret != nil && len(v.Secret.Items) == 1:
		item := v.Secret.Items[0]
		return settings.CA{Kind: settings.Secret, Name: v.Secret.SecretName, Key: item.Key}, item.Path
	case v.ConfigMap != nil && len(v.ConfigMap.Items) == 1:
		item := v.ConfigMap.Items[0]
		return settings.CA{Kind: settings.ConfigMap, Name: v.ConfigMap.Name, Key: item.Key}, item.Path
	case v.Projected != nil && len(v.Projected.Sources) == 1:
		if bundle := v.Projected.Sources[0].ClusterTrustBundle; bundle != nil && bundle.Name != nil {
			return settings.CA{Kind: settings.ClusterTrustBundle, Name: *bundle.Name}, bundle.Path
		}
	}
	return settings.CA{}, ""
}

// mountsFile tells whether a container mounts the file of a volume, and whether one that does has
// a variable that names the path.
func (p *Pod) mountsFile(volume, file string) (mounted, named bool) {
	for _, c := range p.allContainers() {
		for i := range c.VolumeMounts {
			m := &c.VolumeMounts[i]
			if m.Name != volume || m.SubPath != file {
				continue
			}
			mounted = true
			named = named || slices.ContainsFunc(c.Env, func(e corev1.EnvVar) bool { return e.Value == m.MountPath })
		}
	}
	return mounted, named
}

// FileIn returns where a container has the file of a CA mounted; nothing where it has not.
func (p *Pod) FileIn(container string, of settings.CA) string {
	for i := range p.Spec.Volumes {
		v := &p.Spec.Volumes[i]
		ca, file := sourceOf(v)
		if file == "" || ca != of {
			continue
		}
		for _, c := range p.allContainers() {
			for j := range c.VolumeMounts {
				if m := &c.VolumeMounts[j]; c.Name == container && m.Name == v.Name && m.SubPath == file {
					return m.MountPath
				}
			}
		}
	}
	return ""
}

// Clients returns the names of the containers that are known as S3 clients.
func (p *Pod) Clients() []string {
	var found []string
	for _, c := range p.allContainers() {
		if s3client.IsClient(c.recognisable(), p.nameLabel()) {
			found = append(found, c.Name)
		}
	}
	return found
}
