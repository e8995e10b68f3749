package inject

import (
	"fmt"
	"path"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// pointer returns the JSON pointer of a field: /spec/containers/0/env.
func (c containerRef) pointer(field string) string {
	return fmt.Sprintf("/spec/%s/%d/%s", c.list, c.index, field)
}

// path returns the same for people: spec.containers[0].env.
func (c containerRef) path(field string) string {
	return fmt.Sprintf("spec.%s[%d].%s", c.list, c.index, field)
}

// variable returns the variable of that name, the last where there are several,
// as the kubelet takes it.
func (c containerRef) variable(name string) *corev1.EnvVar {
	for i := len(c.Env) - 1; i >= 0; i-- {
		if c.Env[i].Name == name {
			return &c.Env[i]
		}
	}
	return nil
}

// hasMountAt tells whether something is mounted at a path or below it, where a
// file of ours would be in its way.
func (c containerRef) hasMountAt(at string) bool {
	for _, m := range c.mountPaths() {
		if isAtOrBelow(m, at) {
			return true
		}
	}
	return false
}

// mountAbove returns the mount, as the user wrote it, that is on a parent of a path.
func (c containerRef) mountAbove(at string) string {
	for _, m := range c.mountPaths() {
		if isAtOrBelow(at, m) {
			return m
		}
	}
	return ""
}

func (c containerRef) mountPaths() []string {
	paths := make([]string, 0, len(c.VolumeMounts)+len(c.VolumeDevices))
	for _, m := range c.VolumeMounts {
		paths = append(paths, m.MountPath)
	}
	for _, d := range c.VolumeDevices {
		paths = append(paths, d.DevicePath)
	}
	return paths
}

func isAtOrBelow(inner, outer string) bool {
	outer = strings.TrimSuffix(normalise(outer), "/")
	return strings.HasPrefix(normalise(inner)+"/", outer+"/")
}

// normalise makes paths comparable. /var/run is a link to /run in most images.
func normalise(p string) string {
	p = path.Clean("/" + p)
	if p == "/var/run" || strings.HasPrefix(p, "/var/run/") {
		return strings.TrimPrefix(p, "/var")
	}
	return p
}
