package webhook

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	admissionv1 "k8s.io/api/admission/v1"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/inject"
)

// read reads a review: what a decision depends on, and nothing else of it. Most of a review is never
// looked at: managedFields, probes, tolerations, the options.
func (p *parser) review() (rev review) {
	p.object(func(name string) bool {
		switch name {
		case "apiVersion":
			rev.APIVersion = p.text()
		case "kind":
			rev.Kind = p.text()
		case "request":
			rev.Request = p.request()
		default:
			return false
		}
		return true
	})
	p.end()
	return rev
}

func (p *parser) request() *request {
	req := &request{}
	if !p.object(func(name string) bool {
		switch name {
		case "uid":
			req.UID = types.UID(p.text())
		case "kind":
			req.Kind = p.kind()
		case "subResource":
			req.SubResource = p.text()
		case "namespace":
			req.Namespace = p.text()
		case "operation":
			req.Operation = admissionv1.Operation(p.text())
		case "dryRun":
			req.DryRun = p.flag()
		case "object":
			req.Object = p.pod()
		default:
			return false
		}
		return true
	}) {
		return nil
	}
	return req
}

func (p *parser) kind() (kind metav1.GroupVersionKind) {
	p.object(func(name string) bool {
		switch name {
		case "group":
			kind.Group = p.text()
		case "version":
			kind.Version = p.text()
		case "kind":
			kind.Kind = p.text()
		default:
			return false
		}
		return true
	})
	return kind
}

func (p *parser) pod() *inject.Pod {
	found := &inject.Pod{}
	if !p.object(func(name string) bool {
		switch name {
		case "metadata":
			found.Metadata = p.metadata()
		case "spec":
			p.spec(&found.Spec)
		default:
			return false
		}
		return true
	}) {
		return nil
	}
	return found
}

func (p *parser) metadata() *inject.Metadata {
	m := &inject.Metadata{}
	if !p.object(func(name string) bool {
		switch name {
		case "name":
			m.Name = p.text()
		case "generateName":
			m.GenerateName = p.text()
		case "labels":
			m.Labels = p.textMap()
		case "annotations":
			m.Annotations = p.textMap()
		case "ownerReferences":
			p.array(func() { m.OwnerReferences = append(m.OwnerReferences, p.owner()) })
		default:
			return false
		}
		return true
	}) {
		return nil
	}
	return m
}

func (p *parser) owner() (owner metav1.OwnerReference) {
	p.object(func(name string) bool {
		switch name {
		case "apiVersion":
			owner.APIVersion = p.text()
		case "kind":
			owner.Kind = p.text()
		case "name":
			owner.Name = p.text()
		case "uid":
			owner.UID = types.UID(p.text())
		case "controller":
			owner.Controller = p.optionalFlag()
		default:
			return false
		}
		return true
	})
	return owner
}

func (p *parser) spec(spec *inject.Spec) {
	p.object(func(name string) bool {
		switch name {
		case "os":
			spec.OS = p.os()
		case "nodeSelector":
			spec.NodeSelector = p.textMap()
		case "initContainers":
			spec.InitContainers = p.containers()
		case "containers":
			spec.Containers = p.containers()
		case "volumes":
			p.array(func() { spec.Volumes = append(spec.Volumes, p.volume()) })
		default:
			return false
		}
		return true
	})
}

func (p *parser) os() *corev1.PodOS {
	os := &corev1.PodOS{}
	if !p.object(func(name string) bool {
		if name == "name" {
			os.Name = corev1.OSName(p.text())
			return true
		}
		return false
	}) {
		return nil
	}
	return os
}

func (p *parser) containers() (all []inject.Container) {
	p.array(func() { all = append(all, p.container()) })
	return all
}

func (p *parser) container() (c inject.Container) {
	p.object(func(name string) bool {
		switch name {
		case "name":
			c.Name = p.text()
		case "image":
			c.Image = p.text()
		case "command":
			c.Command = p.texts()
		case "args":
			c.Args = p.texts()
		case "env":
			p.array(func() { c.Env = append(c.Env, p.variable()) })
		case "volumeMounts":
			p.array(func() { c.VolumeMounts = append(c.VolumeMounts, p.mount()) })
		case "volumeDevices":
			p.array(func() { c.VolumeDevices = append(c.VolumeDevices, p.device()) })
		default:
			return false
		}
		return true
	})
	return c
}

// variable reads a variable. Of a source it matters that there is one, and not which.
func (p *parser) variable() (v corev1.EnvVar) {
	p.object(func(name string) bool {
		switch name {
		case "name":
			v.Name = p.text()
		case "value":
			v.Value = p.text()
		case "valueFrom":
			if p.object(func(string) bool { return false }) {
				v.ValueFrom = &corev1.EnvVarSource{}
			}
		default:
			return false
		}
		return true
	})
	return v
}

func (p *parser) mount() (m corev1.VolumeMount) {
	p.object(func(name string) bool {
		switch name {
		case "name":
			m.Name = p.text()
		case "mountPath":
			m.MountPath = p.text()
		case "subPath":
			m.SubPath = p.text()
		case "subPathExpr":
			m.SubPathExpr = p.text()
		default:
			return false
		}
		return true
	})
	return m
}

func (p *parser) device() (d corev1.VolumeDevice) {
	p.object(func(name string) bool {
		switch name {
		case "name":
			d.Name = p.text()
		case "devicePath":
			d.DevicePath = p.text()
		default:
			return false
		}
		return true
	})
	return d
}

// volume reads a volume: its name, and whether it is one of a CA.
func (p *parser) volume() (v corev1.Volume) {
	p.object(func(name string) bool {
		switch name {
		case "name":
			v.Name = p.text()
		case "secret":
			v.Secret = p.secret()
		case "configMap":
			v.ConfigMap = p.configMap()
		case "projected":
			v.Projected = p.projected()
		default:
			return false
		}
		return true
	})
	return v
}

func (p *parser) secret() *corev1.SecretVolumeSource {
	source := &corev1.SecretVolumeSource{}
	if !p.object(func(name string) bool {
		switch name {
		case "secretName":
			source.SecretName = p.text()
		case "items":
			source.Items = p.items()
		case "optional":
			source.Optional = p.optionalFlag()
		default:
			return false
		}
		return true
	}) {
		return nil
	}
	return source
}

func (p *parser) configMap() *corev1.ConfigMapVolumeSource {
	source := &corev1.ConfigMapVolumeSource{}
	if !p.object(func(name string) bool {
		switch name {
		case "name":
			source.Name = p.text()
		case "items":
			source.Items = p.items()
		case "optional":
			source.Optional = p.optionalFlag()
		default:
			return false
		}
		return true
	}) {
		return nil
	}
	return source
}

func (p *parser) items() (all []corev1.KeyToPath) {
	p.array(func() {
		var item corev1.KeyToPath
		p.object(func(name string) bool {
			switch name {
			case "key":
				item.Key = p.text()
			case "path":
				item.Path = p.text()
			default:
				return false
			}
			return true
		})
		all = append(all, item)
	})
	return all
}

func (p *parser) projected() *corev1.ProjectedVolumeSource {
	source := &corev1.ProjectedVolumeSource{}
	if !p.object(func(name string) bool {
		if name != "sources" {
			return false
		}
		p.array(func() {
			var projection corev1.VolumeProjection
			p.object(func(name string) bool {
				if name != "clusterTrustBundle" {
					return false
				}
				projection.ClusterTrustBundle = p.trustBundle()
				return true
			})
			source.Sources = append(source.Sources, projection)
		})
		return true
	}) {
		return nil
	}
	return source
}

func (p *parser) trustBundle() *corev1.ClusterTrustBundleProjection {
	bundle := &corev1.ClusterTrustBundleProjection{}
	if !p.object(func(name string) bool {
		switch name {
		case "name":
			if name := p.text(); p.err == nil {
				bundle.Name = &name
			}
		case "path":
			bundle.Path = p.text()
		case "optional":
			bundle.Optional = p.optionalFlag()
		default:
			return false
		}
		return true
	}) {
		return nil
	}
	return bundle
}
