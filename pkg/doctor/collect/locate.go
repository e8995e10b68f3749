package collect

import (
	"fmt"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/inject"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/s3client"
)

// source is where a configuration of a container is.
type source struct {
	// Kind is Secret or ConfigMap; empty for text that is in the pod itself.
	kind, name, key string
	// text is the configuration itself, and flag where it is from.
	text, flag string
	// why says why it cannot be read.
	why string
}

func (s *source) place() string {
	if s.kind == "" {
		return "--" + s.flag
	}
	return fmt.Sprintf("%s %s[%s]", s.kind, s.name, s.key)
}

// The flags that name a configuration file, and those that hold the configuration.
//
//nolint:gochecknoglobals // constants
var (
	fileFlags   = []string{"objstore.config-file", "config.file", "config"}
	inlineFlags = []string{"objstore.config"}
)

// sourcesOf returns where the configurations of a container are.
func sourcesOf(pod *inject.Pod, c *inject.Container) []source {
	var found []source
	recognisable := s3client.Container{Name: c.Name, Image: c.Image, Command: c.Command, Args: c.Args}
	values := s3client.Flags(recognisable, slices.Concat(fileFlags, inlineFlags)...)
	for _, flag := range inlineFlags {
		if text := values[flag]; text != "" {
			found = append(found, inline(c, flag, text))
		}
	}
	for _, flag := range fileFlags {
		if values[flag] == "" {
			continue
		}
		file := strings.TrimSpace(strings.Split(values[flag], ",")[0])
		if s, ok := locate(pod, c, file); ok {
			s.flag = flag
			found = append(found, s)
		} else {
			found = append(found, source{flag: flag, why: file + " is in no Secret or ConfigMap of the pod"})
		}
	}
	return found
}

// inline follows $(NAME), as the kubelet does, to the variable's source.
func inline(c *inject.Container, flag, text string) source {
	name, isVariable := strings.CutPrefix(text, "$(")
	name, closed := strings.CutSuffix(name, ")")
	if !isVariable || !closed {
		return source{flag: flag, text: text}
	}
	for i := len(c.Env) - 1; i >= 0; i-- {
		e := &c.Env[i]
		switch {
		case e.Name != name:
			continue
		case e.ValueFrom == nil:
			return source{flag: flag, text: e.Value}
		case e.ValueFrom.SecretKeyRef != nil:
			return source{kind: "Secret", name: e.ValueFrom.SecretKeyRef.Name, key: e.ValueFrom.SecretKeyRef.Key, flag: flag}
		case e.ValueFrom.ConfigMapKeyRef != nil:
			return source{kind: "ConfigMap", name: e.ValueFrom.ConfigMapKeyRef.Name, key: e.ValueFrom.ConfigMapKeyRef.Key, flag: flag}
		}
	}
	return source{flag: flag, why: fmt.Sprintf("the variable %s that it names has no value that can be read", name)}
}

// locate returns the object and key that a path of a container is from.
func locate(pod *inject.Pod, c *inject.Container, file string) (source, bool) {
	file = path.Clean(file)
	var best *corev1.VolumeMount
	for i := range c.VolumeMounts {
		if m := &c.VolumeMounts[i]; isUnder(file, m.MountPath) && (best == nil || len(m.MountPath) > len(best.MountPath)) {
			best = m
		}
	}
	if best == nil {
		return source{}, false
	}
	relative := strings.Trim(path.Join(best.SubPath, strings.TrimPrefix(file, path.Clean(best.MountPath))), "/")
	for i := range pod.Spec.Volumes {
		if v := &pod.Spec.Volumes[i]; v.Name == best.Name {
			return inVolume(v, relative)
		}
	}
	return source{}, false
}

func isUnder(file, mount string) bool {
	mount = path.Clean(mount)
	return file == mount || mount == "/" || strings.HasPrefix(file, mount+"/")
}

func inVolume(v *corev1.Volume, file string) (source, bool) {
	switch {
	case v.Secret != nil:
		return inItems("Secret", v.Secret.SecretName, v.Secret.Items, file)
	case v.ConfigMap != nil:
		return inItems("ConfigMap", v.ConfigMap.Name, v.ConfigMap.Items, file)
	case v.Projected != nil:
		for i := range v.Projected.Sources {
			p := &v.Projected.Sources[i]
			var found source
			var ok bool
			switch {
			case p.Secret != nil:
				found, ok = inItems("Secret", p.Secret.Name, p.Secret.Items, file)
				ok = ok && (len(p.Secret.Items) > 0 || len(v.Projected.Sources) == 1)
			case p.ConfigMap != nil:
				found, ok = inItems("ConfigMap", p.ConfigMap.Name, p.ConfigMap.Items, file)
				ok = ok && (len(p.ConfigMap.Items) > 0 || len(v.Projected.Sources) == 1)
			}
			if ok {
				return found, true
			}
		}
	}
	return source{}, false
}

// inItems returns the key that a file of a volume is from.
func inItems(kind, name string, items []corev1.KeyToPath, file string) (source, bool) {
	if len(items) == 0 {
		return source{kind: kind, name: name, key: file}, true
	}
	for _, item := range items {
		if path.Clean(item.Path) == file {
			return source{kind: kind, name: name, key: item.Key}, true
		}
	}
	return source{}, false
}

// mounted tells whether a path lies under a mount of a container.
func mounted(c *inject.Container, file string) bool {
	return slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return isUnder(path.Clean(file), m.MountPath) })
}
