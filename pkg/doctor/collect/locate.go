package collect

import (
	"cmp"
	"fmt"
	"path"
	"regexp"
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
		file := withValues(c, strings.TrimSpace(strings.Split(values[flag], ",")[0]))
		if s, ok := locate(pod, c, file); ok {
			s.flag = flag
			found = append(found, s)
		} else {
			name := "the file"
			if plainPath.MatchString(file) {
				name = file
			}
			found = append(found, source{flag: flag, why: name + " is in no Secret or ConfigMap of the pod"})
		}
	}
	return found
}

// wholeVariable is a text that is a variable alone, as the kubelet or a shell expands it, someVariable
// one anywhere, and plainPath what can be printed without fear that it is something else.
var (
	wholeVariable = regexp.MustCompile(`^["']?\$(?:\(([A-Za-z_][A-Za-z0-9_]*)\)|\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*))["']?$`)
	plainPath     = regexp.MustCompile(`^[A-Za-z0-9._/-]{1,200}$`)
	someVariable  = regexp.MustCompile(`\$\(([A-Za-z_][A-Za-z0-9_]*)\)`)
)

// inline follows a variable to its source. What is no configuration is not told: it may hold one.
func inline(c *inject.Container, flag, text string) source {
	match := wholeVariable.FindStringSubmatch(text)
	if match == nil {
		if strings.HasPrefix(strings.Trim(text, `"'`), "$") || strings.HasPrefix(text, "`") {
			return source{flag: flag, why: "a shell makes it when the container starts"}
		}
		return source{flag: flag, text: text}
	}
	name := cmp.Or(match[1], match[2], match[3])
	switch e := variable(c, name); {
	case e == nil:
	case e.ValueFrom == nil:
		return source{flag: flag, text: e.Value}
	case e.ValueFrom.SecretKeyRef != nil:
		return source{kind: "Secret", name: e.ValueFrom.SecretKeyRef.Name, key: e.ValueFrom.SecretKeyRef.Key, flag: flag}
	case e.ValueFrom.ConfigMapKeyRef != nil:
		return source{kind: "ConfigMap", name: e.ValueFrom.ConfigMapKeyRef.Name, key: e.ValueFrom.ConfigMapKeyRef.Key, flag: flag}
	}
	return source{flag: flag, why: fmt.Sprintf("the variable %s that it names has no value that can be read", name)}
}

// variable returns a container's variable; nil where there is none. Of one that is given twice the
// last one counts.
func variable(c *inject.Container, name string) *corev1.EnvVar {
	for i := len(c.Env) - 1; i >= 0; i-- {
		if c.Env[i].Name == name {
			return &c.Env[i]
		}
	}
	return nil
}

// value returns what the manifest says of a variable.
func value(c *inject.Container, name string) (string, bool) {
	e := variable(c, name)
	if e == nil || e.ValueFrom != nil || strings.Contains(e.Value, "$(") {
		return "", false
	}
	return e.Value, true
}

// withValues expands $(NAME) as the kubelet does, where the manifest has the value.
func withValues(c *inject.Container, text string) string {
	return someVariable.ReplaceAllStringFunc(text, func(found string) string {
		if is, known := value(c, found[2:len(found)-1]); known {
			return is
		}
		return found
	})
}

// locate returns the object and key that a path of a container is from; of several that it may be
// from, the last one.
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
			if found := inVolume(v, relative); len(found) > 0 {
				return found[len(found)-1], true
			}
		}
	}
	return source{}, false
}

func isUnder(file, mount string) bool {
	mount = path.Clean(mount)
	return file == mount || mount == "/" || strings.HasPrefix(file, mount+"/")
}

// inVolume returns the objects and keys that a file of a volume may be from.
func inVolume(v *corev1.Volume, file string) []source {
	file = strings.TrimPrefix(file, "..data/")
	var found []source
	switch {
	case v.Secret != nil:
		found = inItems(found, "Secret", v.Secret.SecretName, v.Secret.Items, file)
	case v.ConfigMap != nil:
		found = inItems(found, "ConfigMap", v.ConfigMap.Name, v.ConfigMap.Items, file)
	case v.Projected != nil:
		for i := range v.Projected.Sources {
			p := &v.Projected.Sources[i]
			switch {
			case p.Secret != nil:
				found = inItems(found, "Secret", p.Secret.Name, p.Secret.Items, file)
			case p.ConfigMap != nil:
				found = inItems(found, "ConfigMap", p.ConfigMap.Name, p.ConfigMap.Items, file)
			}
		}
	}
	return found
}

// inItems adds the key that a file of a volume is from.
func inItems(found []source, kind, name string, items []corev1.KeyToPath, file string) []source {
	if len(items) == 0 && file != "" && !strings.Contains(file, "/") {
		return append(found, source{kind: kind, name: name, key: file})
	}
	for _, item := range items {
		if path.Clean(item.Path) == file {
			found = append(found, source{kind: kind, name: name, key: item.Key})
		}
	}
	return found
}

// mounted tells whether a path lies under a mount of a container.
func mounted(c *inject.Container, file string) bool {
	return slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return isUnder(path.Clean(file), m.MountPath) })
}
