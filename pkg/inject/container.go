package inject

import (
	"fmt"
	"iter"
	"path"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// pointer returns the JSON pointer of a field: /spec/containers/0/env.
func (c containerRef) pointer(field string) string {
	return "/spec/" + c.list + "/" + strconv.Itoa(c.index) + "/" + field
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
	for m := range c.mountPaths() {
		if isAtOrBelow(m, at) {
			return true
		}
	}
	return false
}

// mountAbove returns the mount, as the user wrote it, that is on a parent of a path.
func (c containerRef) mountAbove(at string) string {
	for m := range c.mountPaths() {
		if isAtOrBelow(at, m) {
			return m
		}
	}
	return ""
}

// mountPaths are where volumes and devices are.
func (c containerRef) mountPaths() iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range c.VolumeMounts {
			if !yield(c.VolumeMounts[i].MountPath) {
				return
			}
		}
		for i := range c.VolumeDevices {
			if !yield(c.VolumeDevices[i].DevicePath) {
				return
			}
		}
	}
}

func isAtOrBelow(inner, outer string) bool {
	inner, outer = normalise(inner), strings.TrimSuffix(normalise(outer), "/")
	return strings.HasPrefix(inner, outer) && (len(inner) == len(outer) || inner[len(outer)] == '/')
}

// normalise makes paths comparable. /var/run is a link to /run in most images.
func normalise(p string) string {
	if !strings.HasPrefix(p, "/") {
		p = "/" + p
	}
	p = path.Clean(p)
	if p == "/var/run" || strings.HasPrefix(p, "/var/run/") {
		return strings.TrimPrefix(p, "/var")
	}
	return p
}
