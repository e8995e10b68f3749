package inject

import (
	"maps"
	"slices"
	"strings"

	"gomodules.xyz/jsonpatch/v2"
	corev1 "k8s.io/api/core/v1"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/api/v1alpha1"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/settings"
)

// Where the file goes in a container that has a mount on a parent of the mount
// path, where a file of ours would fail to start or be written to a host.
const (
	fallbackPath     = "/var/run/s3-tls/" + fileName
	lastFallbackPath = "/s3-tls/" + fileName
)

// plan collects what is added to one pod.
type plan struct {
	in       *Input
	settings *settings.Settings
	sha256   string // of the CA file; empty where it is not known
	// existing are the pod's own volumes of our CA; the first one is reused.
	existing []caVolume
	volume   caVolume
	mounted  bool // volume is used by a mount that is added
	carriers []string
	warnings []Message
	ops      []jsonpatch.Operation
}

func newPlan(in *Input, with *settings.Settings, sha256 string) *plan {
	p := &plan{in: in, settings: with, sha256: sha256, existing: in.Pod.caVolumes(with.CA)}
	if len(p.existing) > 0 {
		p.volume = p.existing[0]
	} else {
		p.volume = caVolume{name: in.Pod.freeVolumeName(in.ClaimTemplates), file: fileName}
	}
	return p
}

// add plans for one container: the mount where there is none, then the
// variables. A container in which every path is taken is left alone.
func (p *plan) add(c containerRef) {
	at, mounted := p.choosePath(c)
	if at == "" {
		return
	}
	if !mounted {
		p.mounted = true
		mount := corev1.VolumeMount{Name: p.volume.name, MountPath: at, SubPath: p.volume.file, ReadOnly: true}
		p.ops = append(p.ops, appendOps(c.pointer("volumeMounts"), len(c.VolumeMounts), mount)...)
	}
	p.carriers = append(p.carriers, c.Name)
	p.setVariables(c, at)
}

// choosePath returns where the container has the file already, or else where it
// can go; nothing where the path is taken. It warns where that is not the mount path.
func (p *plan) choosePath(c containerRef) (at string, mounted bool) {
	wanted := p.settings.MountPath
	if p.isMounted(c, wanted) {
		return wanted, true
	}
	taken := wanted
	if !c.hasMountAt(wanted) {
		parent := c.mountAbove(wanted)
		if parent == "" {
			return wanted, false
		}
		if at, mounted = p.chooseFallback(c); at != "" {
			p.warn(c, "volumeMounts", parentMounted(c.Name, parent, at))
			return at, mounted
		}
		taken = lastFallbackPath
	}
	p.warn(c, "volumeMounts", pathTaken(c.Name, taken))
	return "", false
}

func (p *plan) chooseFallback(c containerRef) (at string, mounted bool) {
	for _, at := range []string{fallbackPath, lastFallbackPath} {
		if p.isMounted(c, at) {
			return at, true
		}
		if !c.hasMountAt(at) && (c.mountAbove(at) == "" || at == lastFallbackPath) {
			return at, false
		}
	}
	return "", false
}

// isMounted tells whether the container has our file at a path already.
func (p *plan) isMounted(c containerRef, at string) bool {
	return slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool {
		return normalise(m.MountPath) == normalise(at) && slices.Contains(p.existing, caVolume{name: m.Name, file: m.SubPath})
	})
}

func (p *plan) setVariables(c containerRef, value string) {
	var missing []corev1.EnvVar
	for _, name := range p.settings.Env {
		switch existing := c.variable(name); {
		case existing == nil:
			missing = append(missing, corev1.EnvVar{Name: name, Value: value})
		case existing.Value != value || existing.ValueFrom != nil:
			p.warn(c, "env", variableTaken(c.Name, name))
		}
	}
	p.ops = append(p.ops, appendOps(c.pointer("env"), len(c.Env), missing...)...)
}

func (p *plan) warn(c containerRef, field, text string) {
	p.warnings = append(p.warnings, Message{Path: c.path(field), Text: text})
}

// finish puts the operations together: annotations, volume, containers.
func (p *plan) finish(r Result) Result {
	r.Containers = p.carriers
	annotations := map[string]string{}
	own := p.in.Pod.annotations()
	if p.sha256 != "" && own[v1alpha1.CASHA256] != p.sha256 && len(p.carriers) > 0 {
		annotations[v1alpha1.CASHA256] = p.sha256
	}
	switch {
	case len(p.carriers) == 0:
		r.Warnings = p.warnings
		return r.skip(Conflict)
	case len(p.ops) == 0 && len(annotations) == 0:
		return r.skip(AlreadyInjected)
	}
	if _, ok := own[v1alpha1.InjectedBy]; !ok {
		annotations[v1alpha1.InjectedBy] = r.Source
	}
	r.Patch = annotationOps(p.in.Pod.Metadata, annotations)
	if p.mounted && len(p.existing) == 0 {
		r.Patch = append(r.Patch, appendOps("/spec/volumes", len(p.in.Pod.Spec.Volumes), newVolume(p.volume.name, p.settings.CA))...)
	}
	r.Patch = append(r.Patch, p.ops...)
	r.Warnings = p.warnings
	return r
}

// annotationOps adds annotations, and the map and the metadata where they are missing.
func annotationOps(metadata *Metadata, annotations map[string]string) []jsonpatch.Operation {
	switch {
	case len(annotations) == 0:
		return nil
	case metadata == nil:
		value := map[string]map[string]string{"annotations": annotations}
		return []jsonpatch.Operation{jsonpatch.NewOperation("add", "/metadata", value)}
	case len(metadata.Annotations) == 0:
		return []jsonpatch.Operation{jsonpatch.NewOperation("add", "/metadata/annotations", annotations)}
	}
	var ops []jsonpatch.Operation
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		pointer := "/metadata/annotations/" + strings.ReplaceAll(key, "/", "~1")
		ops = append(ops, jsonpatch.NewOperation("add", pointer, annotations[key]))
	}
	return ops
}

// appendOps appends values to the list at a pointer, which has length elements
// now; a list that is empty or missing is added whole.
func appendOps[T any](pointer string, length int, values ...T) []jsonpatch.Operation {
	if length == 0 && len(values) > 0 {
		return []jsonpatch.Operation{jsonpatch.NewOperation("add", pointer, values)}
	}
	var ops []jsonpatch.Operation
	for _, v := range values {
		ops = append(ops, jsonpatch.NewOperation("add", pointer+"/-", v))
	}
	return ops
}
