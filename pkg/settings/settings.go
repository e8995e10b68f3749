// Package settings decides what is mounted where: it reads the settings of a
// pod, its namespace and a policy, tells every mistake in them, and merges
// them setting by setting. It is pure, and knows nothing of containers but
// their names.
package settings

import (
	"slices"
	"strings"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/api/v1alpha1"
)

// CAKind is the kind of the object that holds the CA.
type CAKind string

// The kinds, named as the fields of a policy.
const (
	Secret             CAKind = "secret"
	ConfigMap          CAKind = "configMap"
	ClusterTrustBundle CAKind = "clusterTrustBundle"
)

// ObjectKind returns the kind of the object in the Kubernetes API: ConfigMap.
func (k CAKind) ObjectKind() string { return strings.ToUpper(string(k[:1])) + string(k[1:]) }

// CA names the file that is mounted. A ClusterTrustBundle has no key.
type CA struct {
	Kind CAKind
	Name string
	Key  string
}

// Object names the object that holds the CA to the user: Secret s3-tls-cert.
func (c CA) Object() string { return c.Kind.ObjectKind() + " " + c.Name }

// Place names the CA in it: Secret s3-tls-cert[ca.crt].
func (c CA) Place() string { return c.Object() + "[" + c.Key + "]" }

// Settings say what is mounted where.
type Settings struct {
	CA CA
	// MountPath is the absolute path of the file in the container.
	MountPath string
	// Env names the variables that are set to it; empty sets none.
	Env []string
	// Containers names those that are injected, ["*"] all; empty: the recognised S3 clients.
	Containers []string
	// RestartOnRotation replaces the pod when its CA changes.
	RestartOnRotation bool
}

// setting is the unit of precedence.
type setting string

const (
	ca         setting = "ca"
	key        setting = "key"
	mountPath  setting = "mount-path"
	env        setting = "env"
	containers setting = "containers"
	onRotation setting = "on-rotation"
	// unknown holds keys that are no setting: nothing overrides them.
	unknown setting = "unknown"
)

// Mistake is a setting that cannot be taken.
type Mistake struct {
	// Path is the place in the pod: metadata.annotations[s3-tls/env]. It is empty
	// for a namespace's or a policy's, whose Text names them.
	Path string
	Text string

	setting setting
}

// builtIn is the lowest level: it says everything.
func builtIn() Level {
	return Level{
		says: map[setting]bool{ca: true, key: true, mountPath: true, env: true, containers: true, onRotation: true},
		values: Settings{
			CA:        CA{Kind: Secret, Name: v1alpha1.DefaultSecret, Key: v1alpha1.DefaultKey},
			MountPath: v1alpha1.DefaultMountPath,
			Env:       []string{v1alpha1.DefaultEnv},
		},
	}
}

// Merge takes each setting from the first level that says it, and from the
// built-in values where none does. The mistakes are those of what was taken.
func Merge(levels ...Level) (Settings, []Mistake) {
	levels = append(levels, builtIn())
	var mistakes []Mistake
	take := func(s setting, among []Level) Settings {
		i := slices.IndexFunc(among, func(l Level) bool { return l.says[s] })
		if i < 0 {
			return builtIn().values
		}
		mistakes = append(mistakes, among[i].mistakesIn(s)...)
		return among[i].values
	}
	// A level that names a source does not take the key of a level below it.
	source := slices.IndexFunc(levels, func(l Level) bool { return l.says[ca] })
	merged := Settings{
		CA:                take(ca, levels).CA,
		MountPath:         take(mountPath, levels).MountPath,
		Env:               take(env, levels).Env,
		Containers:        take(containers, levels).Containers,
		RestartOnRotation: take(onRotation, levels).RestartOnRotation,
	}
	merged.CA.Key = take(key, levels[:source+1]).CA.Key
	for _, l := range levels {
		mistakes = append(mistakes, l.mistakesIn(unknown)...)
	}
	return merged, mistakes
}
