package settings

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/api/v1alpha1"
)

// Level is what one of pod, namespace and policy says.
type Level struct {
	says     map[setting]bool
	values   Settings
	mistakes []Mistake
	// place turns a field and a text into the mistake that names it to the user.
	place func(field, text string) Mistake
}

// OfPod reads a pod's annotations. containerNames are those of all its containers.
func OfPod(annotations map[string]string, containerNames []string) Level {
	l := Level{place: func(key, text string) Mistake {
		return Mistake{Path: "metadata.annotations[" + key + "]", Text: text}
	}}
	l.read(annotations, v1alpha1.Inject, v1alpha1.InjectedBy, v1alpha1.CASHA256, v1alpha1.Containers)
	if value, ok := annotations[v1alpha1.Containers]; ok {
		l.setContainers(v1alpha1.Containers, splitList(value))
		for _, name := range l.values.Containers {
			if name != v1alpha1.All && !slices.Contains(containerNames, name) {
				l.mistake(containers, v1alpha1.Containers, noSuchContainer(name, containerNames))
			}
		}
	}
	return l
}

// OfNamespace reads a Namespace's annotations. s3-tls/inject may be among them:
// only the label of that name counts.
func OfNamespace(name string, annotations map[string]string) Level {
	l := Level{place: func(key, text string) Mistake {
		return Mistake{Text: fmt.Sprintf("namespace %q: metadata.annotations[%s]: %s", name, key, text)}
	}}
	l.read(annotations, v1alpha1.Inject, v1alpha1.Containers)
	if _, ok := annotations[v1alpha1.Containers]; ok {
		l.mistake(containers, v1alpha1.Containers, namespaceNamesContainers)
	}
	return l
}

// OfPolicy reads a policy's fields.
func OfPolicy(p *v1alpha1.InjectionPolicy) Level {
	l := Level{place: func(field, text string) Mistake {
		return Mistake{Text: fmt.Sprintf("policy %q: spec.%s: %s", p.Name, field, text)}
	}}
	l.setPolicyCA(&p.Spec.CA)
	if p.Spec.MountPath != "" {
		l.setMountPath("mountPath", p.Spec.MountPath)
	}
	if p.Spec.Env != nil {
		l.setEnv("env", p.Spec.Env)
	}
	if len(p.Spec.Containers) > 0 {
		l.setContainers("containers", p.Spec.Containers)
	}
	if p.Spec.OnRotation != "" {
		l.setOnRotation("onRotation", p.Spec.OnRotation, "None", "Restart")
	}
	if f := p.Spec.FailurePolicy; f != "" && f != "Fail" && f != "Ignore" {
		l.mistake(unknown, "failurePolicy", Neither(f, "Fail", "Ignore"))
	}
	l.checkClients(p.Spec.Clients)
	return l
}

func (l *Level) checkClients(clients []v1alpha1.Client) {
	if len(clients) > v1alpha1.MaxClients {
		l.mistake(unknown, "clients", tooMany(v1alpha1.MaxClients))
	}
	for i, client := range clients {
		if !repository.MatchString(client.Image) {
			l.mistake(unknown, fmt.Sprintf("clients[%d].image", i), badImage(client.Image))
		}
		if len(client.Args) > v1alpha1.MaxClients {
			l.mistake(unknown, fmt.Sprintf("clients[%d].args", i), tooMany(v1alpha1.MaxClients))
		}
		if slices.Contains(client.Args, "") {
			l.mistake(unknown, fmt.Sprintf("clients[%d].args", i), emptyArgument)
		}
	}
}

// repository is the end of an image's name, without tag and digest.
var repository = regexp.MustCompile(`^[a-zA-Z0-9._-]+(/[a-zA-Z0-9._-]+)*$`)

// Mistakes returns all mistakes of the level, also in what a higher one overrides.
func (l Level) Mistakes() []Mistake { return l.mistakes }

func (l *Level) setPolicyCA(source *v1alpha1.CASource) {
	named := 0
	name := func(kind CAKind, keyed *v1alpha1.KeyRef) {
		if keyed == nil {
			return
		}
		named++
		field := "ca." + string(kind)
		l.setCA(kind, field+".name", keyed.Name)
		if keyed.Key != "" {
			l.setKey(field+".key", keyed.Key)
		}
	}
	name(Secret, source.Secret)
	name(ConfigMap, source.ConfigMap)
	if source.ClusterTrustBundle != nil {
		name(ClusterTrustBundle, &v1alpha1.KeyRef{Name: source.ClusterTrustBundle.Name})
	}
	if named != 1 {
		l.mistake(ca, "ca", notOneSource)
	}
}

// read reads what a pod and a namespace have in common; a key that is no
// setting and not among the allowed ones is a mistake.
func (l *Level) read(annotations map[string]string, allowed ...string) {
	var sources []string
	kinds := map[string]CAKind{
		v1alpha1.Secret: Secret, v1alpha1.ConfigMap: ConfigMap, v1alpha1.ClusterTrustBundle: ClusterTrustBundle,
	}
	for _, name := range slices.Sorted(maps.Keys(annotations)) {
		value := annotations[name]
		switch name {
		case v1alpha1.Secret, v1alpha1.ConfigMap, v1alpha1.ClusterTrustBundle:
			sources = append(sources, name)
			l.setCA(kinds[name], name, value)
		case v1alpha1.Key:
			l.setKey(name, value)
		case v1alpha1.MountPath:
			l.setMountPath(name, value)
		case v1alpha1.Env:
			l.setEnv(name, splitList(value))
		case v1alpha1.OnRotation:
			l.setOnRotation(name, value, "none", "restart")
		default:
			if strings.HasPrefix(name, v1alpha1.Prefix) && !slices.Contains(allowed, name) {
				l.mistake(unknown, name, unknownKey)
			}
		}
	}
	if len(sources) > 1 {
		l.mistake(ca, sources[len(sources)-1], severalSources(sources))
	}
}

func (l *Level) say(s setting) {
	if l.says == nil {
		l.says = map[setting]bool{}
	}
	l.says[s] = true
}

func (l *Level) mistake(s setting, field, text string) {
	l.say(s)
	m := l.place(field, text)
	m.setting = s
	l.mistakes = append(l.mistakes, m)
}

func (l *Level) mistakesIn(s setting) []Mistake {
	var found []Mistake
	for _, m := range l.mistakes {
		if m.setting == s {
			found = append(found, m)
		}
	}
	return found
}

// splitList splits a comma-separated list: blanks around commas are trimmed, a
// blank list is empty.
func splitList(value string) []string {
	if strings.TrimSpace(value) == "" {
		return nil
	}
	names := strings.Split(value, ",")
	for i := range names {
		names[i] = strings.TrimSpace(names[i])
	}
	return names
}

// distinct lets a name that is given twice count once.
func distinct(names []string) []string {
	var kept []string
	for _, name := range names {
		if !slices.Contains(kept, name) {
			kept = append(kept, name)
		}
	}
	return kept
}
