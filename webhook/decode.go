package webhook

import (
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/inject"
)

// review reads a review: what a decision depends on, and nothing else of it. Most of a review is never
// looked at: managedFields, probes, tolerations, the options.
func (p *parser) review() (rev review) {
	p.object(func(name []byte) bool {
		switch string(name) {
		case "apiVersion":
			rev.APIVersion = p.string()
		case "kind":
			rev.Kind = p.string()
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
	if !p.object(func(name []byte) bool {
		switch string(name) {
		case "uid":
			req.UID = types.UID(p.string())
		case "kind":
			req.Kind = p.kind()
		case "subResource":
			req.SubResource = p.string()
		case "namespace":
			req.Namespace = p.string()
		case "operation":
			req.Operation = admissionv1.Operation(p.string())
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
	p.object(func(name []byte) bool {
		switch string(name) {
		case "group":
			kind.Group = p.string()
		case "version":
			kind.Version = p.string()
		case "kind":
			kind.Kind = p.string()
		default:
			return false
		}
		return true
	})
	return kind
}

func (p *parser) pod() *inject.Pod {
	found := &inject.Pod{}
	if !p.object(func(name []byte) bool {
		switch string(name) {
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
	if !p.object(func(name []byte) bool {
		switch string(name) {
		case "name":
			m.Name = p.string()
		case "generateName":
			m.GenerateName = p.string()
		case "labels":
			m.Labels = p.stringMap()
		case "annotations":
			m.Annotations = p.stringMap()
		case "ownerReferences":
			m.OwnerReferences = list(p, 1, p.owner)
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
	p.object(func(name []byte) bool {
		switch string(name) {
		case "apiVersion":
			owner.APIVersion = p.string()
		case "kind":
			owner.Kind = p.string()
		case "name":
			owner.Name = p.string()
		case "uid":
			owner.UID = types.UID(p.string())
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
	p.object(func(name []byte) bool {
		switch string(name) {
		case "os":
			spec.OS = p.os()
		case "nodeSelector":
			spec.NodeSelector = p.stringMap()
		case "initContainers":
			spec.InitContainers = p.containers()
		case "containers":
			spec.Containers = p.containers()
		case "volumes":
			spec.Volumes = list(p, 4, p.volume)
		default:
			return false
		}
		return true
	})
}

func (p *parser) os() *corev1.PodOS {
	os := &corev1.PodOS{}
	if !p.object(func(name []byte) bool {
		if string(name) == "name" {
			os.Name = corev1.OSName(p.string())
			return true
		}
		return false
	}) {
		return nil
	}
	return os
}

func (p *parser) containers() []inject.Container {
	return list(p, 2, p.container)
}

func (p *parser) container() (c inject.Container) {
	p.object(func(name []byte) bool {
		switch string(name) {
		case "name":
			c.Name = p.string()
		case "image":
			c.Image = p.string()
		case "command":
			c.Command = p.strings()
		case "args":
			c.Args = p.strings()
		case "env":
			c.Env = list(p, 4, p.variable)
		case "volumeMounts":
			c.VolumeMounts = list(p, 4, p.mount)
		case "volumeDevices":
			c.VolumeDevices = list(p, 1, p.device)
		default:
			return false
		}
		return true
	})
	return c
}

// variable reads a variable. Of a source it matters that there is one, and not which.
func (p *parser) variable() (v corev1.EnvVar) {
	p.object(func(name []byte) bool {
		switch string(name) {
		case "name":
			v.Name = p.string()
		case "value":
			v.Value = p.string()
		case "valueFrom":
			if p.object(func([]byte) bool { return false }) {
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
	p.object(func(name []byte) bool {
		switch string(name) {
		case "name":
			m.Name = p.string()
		case "mountPath":
			m.MountPath = p.string()
		case "subPath":
			m.SubPath = p.string()
		case "subPathExpr":
			m.SubPathExpr = p.string()
		default:
			return false
		}
		return true
	})
	return m
}

func (p *parser) device() (d corev1.VolumeDevice) {
	p.object(func(name []byte) bool {
		switch string(name) {
		case "name":
			d.Name = p.string()
		case "devicePath":
			d.DevicePath = p.string()
		default:
			return false
		}
		return true
	})
	return d
}

// volume reads a volume: its name, and whether it is one of a CA.
func (p *parser) volume() (v corev1.Volume) {
	p.object(func(name []byte) bool {
		switch string(name) {
		case "name":
			v.Name = p.string()
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
	if !p.object(func(name []byte) bool {
		switch string(name) {
		case "secretName":
			source.SecretName = p.string()
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
	if !p.object(func(name []byte) bool {
		switch string(name) {
		case "name":
			source.Name = p.string()
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

func (p *parser) items() []corev1.KeyToPath { return list(p, 1, p.item) }

func (p *parser) item() (item corev1.KeyToPath) {
	p.object(func(name []byte) bool {
		switch string(name) {
		case "key":
			item.Key = p.string()
		case "path":
			item.Path = p.string()
		default:
			return false
		}
		return true
	})
	return item
}

func (p *parser) projected() *corev1.ProjectedVolumeSource {
	source := &corev1.ProjectedVolumeSource{}
	if !p.object(func(name []byte) bool {
		if string(name) != "sources" {
			return false
		}
		source.Sources = list(p, 4, p.projection)
		return true
	}) {
		return nil
	}
	return source
}

func (p *parser) projection() (projection corev1.VolumeProjection) {
	p.object(func(name []byte) bool {
		if string(name) != "clusterTrustBundle" {
			return false
		}
		projection.ClusterTrustBundle = p.trustBundle()
		return true
	})
	return projection
}

func (p *parser) trustBundle() *corev1.ClusterTrustBundleProjection {
	bundle := &corev1.ClusterTrustBundleProjection{}
	if !p.object(func(name []byte) bool {
		switch string(name) {
		case "name":
			bundle.Name = p.optionalString()
		case "path":
			bundle.Path = p.string()
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
