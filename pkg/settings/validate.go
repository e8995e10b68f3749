package settings

import (
	"path"
	"slices"
	"strings"

	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/api/v1alpha1"
)

func (l *Level) setCA(kind CAKind, field, name string) {
	l.say(ca)
	l.values.CA.Kind, l.values.CA.Name = kind, name
	local := name
	if kind == ClusterTrustBundle {
		local = name[strings.LastIndexByte(name, ':')+1:] // a signer's bundle is named signer:name
	}
	if len(apivalidation.NameIsDNSSubdomain(local, false)) > 0 {
		l.mistake(ca, field, badName(name))
	}
}

func (l *Level) setKey(field, name string) {
	l.say(key)
	l.values.CA.Key = name
	if len(validation.IsConfigMapKey(name)) > 0 {
		l.mistake(key, field, badKey(name))
	}
}

func (l *Level) setMountPath(field, value string) {
	l.say(mountPath)
	l.values.MountPath = value
	switch {
	case !path.IsAbs(value):
		l.mistake(mountPath, field, relativePath(value))
	case isDirectory(value):
		l.mistake(mountPath, field, directoryPath(value))
	case path.Clean(value) != value, strings.ContainsAny(value, ":$\x00\n\r"):
		l.mistake(mountPath, field, uncleanPath(value))
	}
}

// Directories returns the paths at which every image has a directory, each with
// a slash behind it: no file can be mounted at one of them, nor at what it begins
// with.
func Directories() []string { return slices.Clone(directories) }

// directories are paths where a file would hide a directory that containers
// need, or one that the injector itself uses.
var directories = []string{ //nolint:gochecknoglobals // constant
	"/etc/ssl/certs/", "/etc/pki/tls/certs/", "/etc/pki/ca-trust/extracted/pem/", "/etc/ca-certificates/",
	"/usr/local/share/ca-certificates/", "/usr/share/ca-certificates/", "/usr/bin/", "/usr/lib/", "/usr/local/bin/",
	"/run/s3-tls/", "/var/run/s3-tls/", "/var/lib/", "/var/tmp/", "/s3-tls/",
	"/bin/", "/boot/", "/dev/", "/home/", "/lib/", "/lib64/", "/media/", "/mnt/", "/opt/", "/proc/", "/root/", "/sbin/", "/srv/", "/sys/", "/tmp/",
}

// isDirectory tells whether a path can only be a directory, by its form or
// because every image has one there.
func isDirectory(value string) bool {
	return strings.HasSuffix(value, "/") || slices.ContainsFunc(directories, func(dir string) bool {
		return strings.HasPrefix(dir, value+"/")
	})
}

func (l *Level) setEnv(field string, names []string) {
	l.say(env)
	names = distinct(names)
	if slices.Equal(names, []string{v1alpha1.None}) {
		return
	}
	l.values.Env = names
	if len(names) == 0 {
		l.mistake(env, field, emptyList)
	}
	for _, name := range names {
		switch {
		case name == v1alpha1.None:
			l.mistake(env, field, mixedWord(name))
		case len(validation.IsEnvVarName(name)) > 0:
			l.mistake(env, field, badVariable(name))
		}
	}
}

func (l *Level) setContainers(field string, names []string) {
	l.say(containers)
	names = distinct(names)
	l.values.Containers = names
	if len(names) == 0 {
		l.mistake(containers, field, emptyList)
	}
	for _, name := range names {
		switch {
		case name == v1alpha1.All && len(names) > 1:
			l.mistake(containers, field, mixedWord(name))
		case name != v1alpha1.All && len(validation.IsDNS1123Label(name)) > 0:
			l.mistake(containers, field, badName(name))
		}
	}
}

func (l *Level) setOnRotation(field, value, none, restart string) {
	l.say(onRotation)
	l.values.RestartOnRotation = value == restart
	if value != none && value != restart {
		l.mistake(onRotation, field, Neither(value, none, restart))
	}
}
