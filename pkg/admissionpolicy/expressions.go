package admissionpolicy

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/api/v1alpha1"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/inject"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/s3client"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/settings"
)

// injection is what one object does: for a source, with the defaults of a policy
// where that is one.
type injection struct {
	source string
	policy *v1alpha1.InjectionPolicySpec
	// before are the policies that go first where they select the pod too.
	before []*v1alpha1.InjectionPolicy
}

// variables are the steps of the core, in its order: the settings, the
// containers, the volume, and the path of the file in each container.
func (i *injection) variables() []admissionregistrationv1.Variable {
	d := i.defaults()
	var all []admissionregistrationv1.Variable
	add := func(name, expression string) {
		all = append(all, admissionregistrationv1.Variable{Name: name, Expression: expression})
	}
	add("annotations", "has(object.metadata.annotations) ? object.metadata.annotations : {}")
	add("namespaceAnnotations", "has(namespaceObject.metadata.annotations) ? namespaceObject.metadata.annotations : {}")
	add("containers", "(has(object.spec.initContainers) ? object.spec.initContainers : []) + object.spec.containers")
	add("volumes", "has(object.spec.volumes) ? object.spec.volumes : []")

	sources := quoted(v1alpha1.Secret, v1alpha1.ConfigMap, v1alpha1.ClusterTrustBundle)
	add("podSources", sources+".filter(s, s in variables.annotations)")
	add("namespaceSources", sources+".filter(s, s in variables.namespaceAnnotations)")
	add("caKind", fmt.Sprintf("size(variables.podSources) > 0 ? variables.podSources[0] : size(variables.namespaceSources) > 0 ? variables.namespaceSources[0] : '%s'", d.kind))
	add("caName", fmt.Sprintf("size(variables.podSources) > 0 ? variables.annotations[variables.caKind] : "+
		"size(variables.namespaceSources) > 0 ? variables.namespaceAnnotations[variables.caKind] : %s", literal(d.name)))
	add("caKey", fmt.Sprintf("'%[1]s' in variables.annotations ? variables.annotations['%[1]s'] : size(variables.podSources) > 0 ? '%[2]s' : "+
		"'%[1]s' in variables.namespaceAnnotations ? variables.namespaceAnnotations['%[1]s'] : size(variables.namespaceSources) > 0 ? '%[2]s' : %[3]s",
		v1alpha1.Key, v1alpha1.DefaultKey, literal(d.key)))
	add("mountPath", setting(v1alpha1.MountPath, literal(d.mountPath)))
	add("envText", setting(v1alpha1.Env, literal(strings.Join(d.env, ","))))
	add("envNames", "variables.envText.split(',').map(name, name.trim()).distinct()")
	add("env", "variables.envNames == ['none'] ? [] : variables.envNames")
	add("names", fmt.Sprintf("'%[1]s' in variables.annotations ? variables.annotations['%[1]s'].split(',').map(name, name.trim()).distinct() : %[2]s",
		v1alpha1.Containers, quoted(d.containers...)))
	add("podLabels", "has(object.metadata.labels) ? object.metadata.labels : {}")
	add("namespaceLabels", "has(namespaceObject.metadata.labels) ? namespaceObject.metadata.labels : {}")
	add("valid", i.first()+valid())

	add("clients", fmt.Sprintf("variables.containers.filter(c, %s).map(c, c.name)", s3client.ContainerCEL(d.clients...)))
	add("chosen", i.chosen())

	add("existing", existing())
	add("taken", "variables.volumes.map(v, v.name) + variables.containers.map(c, has(c.volumeMounts) ? c.volumeMounts.map(m, m.name) : []).flatten()")
	add("volume", "size(variables.existing) > 0 ? variables.existing[0].split('/')[0] : "+
		quoted(volumeNames()...)+".filter(name, !(name in variables.taken))[0]")
	add("file", "size(variables.existing) > 0 ? variables.existing[0].substring(variables.existing[0].indexOf('/') + 1) : 's3-ca.crt'")
	add("paths", "variables.containers.transformMapEntry(i, c, c.name in variables.chosen, {c.name: "+choosePath()+"})")
	add("carriers", "variables.containers.filter(c, c.name in variables.paths && variables.paths[c.name] != '')")
	add("unmounted", "variables.carriers.filter(c, !"+mountedAt("variables.paths[c.name]")+").map(c, c.name)")
	add("unset", "variables.carriers.filter(c, variables.env.exists(name, "+missing+")).map(c, c.name)")
	return all
}

// missing tells whether container c lacks the variable name.
const missing = "!(has(c.env) && c.env.exists(e, e.name == name))"

// setting takes an annotation of the pod, else of its namespace, else the default.
func setting(key, otherwise string) string {
	return fmt.Sprintf("'%[1]s' in variables.annotations ? variables.annotations['%[1]s'] : "+
		"'%[1]s' in variables.namespaceAnnotations ? variables.namespaceAnnotations['%[1]s'] : %[2]s", key, otherwise)
}

// defaults are what applies where neither pod nor namespace says anything.
type defaults struct {
	kind, name, key, mountPath string
	env, containers            []string
	clients                    []s3client.Pattern
}

func (i *injection) defaults() defaults {
	d := defaults{
		kind: v1alpha1.Secret, name: v1alpha1.DefaultSecret, key: v1alpha1.DefaultKey,
		mountPath: v1alpha1.DefaultMountPath, env: []string{v1alpha1.DefaultEnv},
	}
	if i.policy == nil {
		return d
	}
	merged, _ := settings.Merge(settings.OfPolicy(&v1alpha1.InjectionPolicy{Spec: *i.policy}))
	kinds := map[settings.CAKind]string{
		settings.Secret: v1alpha1.Secret, settings.ConfigMap: v1alpha1.ConfigMap, settings.ClusterTrustBundle: v1alpha1.ClusterTrustBundle,
	}
	d.kind, d.name, d.key, d.mountPath = kinds[merged.CA.Kind], merged.CA.Name, merged.CA.Key, merged.MountPath
	d.containers = merged.Containers
	if d.env = merged.Env; len(d.env) == 0 {
		d.env = []string{v1alpha1.None}
	}
	for _, c := range i.policy.Clients {
		d.clients = append(d.clients, s3client.Pattern(c))
	}
	return d
}

// first is false where a policy before this one selects the pod.
func (i *injection) first() string {
	var terms strings.Builder
	for _, p := range i.before {
		fmt.Fprintf(&terms, "!(%s && %s) &&\n", selects("variables.namespaceLabels", p.Spec.NamespaceSelector), selects("variables.podLabels", p.Spec.PodSelector))
	}
	return terms.String()
}

// selects renders a label selector over a map of labels.
func selects(labels string, selector *metav1.LabelSelector) string {
	terms := []string{"true"}
	if selector == nil {
		return terms[0]
	}
	for _, key := range slices.Sorted(maps.Keys(selector.MatchLabels)) {
		terms = append(terms, fmt.Sprintf("(%[2]s in %[1]s && %[1]s[%[2]s] == %[3]s)", labels, literal(key), literal(selector.MatchLabels[key])))
	}
	for _, r := range selector.MatchExpressions {
		has := fmt.Sprintf("%s in %s", literal(r.Key), labels)
		values := make([]string, len(r.Values))
		for n, value := range r.Values {
			values[n] = literal(value)
		}
		in := fmt.Sprintf("(%s && %s[%s] in [%s])", has, labels, literal(r.Key), strings.Join(values, ", "))
		switch r.Operator {
		case metav1.LabelSelectorOpIn:
			terms = append(terms, in)
		case metav1.LabelSelectorOpNotIn:
			terms = append(terms, "!"+in)
		case metav1.LabelSelectorOpExists:
			terms = append(terms, has)
		case metav1.LabelSelectorOpDoesNotExist:
			terms = append(terms, "!("+has+")")
		}
	}
	return "(" + strings.Join(terms, " && ") + ")"
}

// valid is false where the core would refuse the pod, or admit it with a warning.
func valid() string {
	both := []string{
		v1alpha1.Inject, v1alpha1.Secret, v1alpha1.ConfigMap, v1alpha1.ClusterTrustBundle,
		v1alpha1.Key, v1alpha1.MountPath, v1alpha1.Env, v1alpha1.Containers, v1alpha1.OnRotation,
	}
	known := func(annotations string, more ...string) string {
		return fmt.Sprintf("variables.%s.all(key, !key.startsWith('%s') || key in %s)", annotations, v1alpha1.Prefix, quoted(append(more, both...)...))
	}
	const name = `[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`
	return strings.Join([]string{
		known("annotations", v1alpha1.InjectedBy, v1alpha1.CASHA256), known("namespaceAnnotations"),
		"(size(variables.podSources) > 0 ? size(variables.podSources) : size(variables.namespaceSources)) <= 1",
		fmt.Sprintf("variables.caName.matches(variables.caKind == '%s' ? '^(.*:)?%s' : '^%s')", v1alpha1.ClusterTrustBundle, name, name),
		"variables.caKey.matches('^[-._a-zA-Z0-9]+$') && variables.caKey != '.' && !variables.caKey.startsWith('..')",
		"variables.mountPath.startsWith('/') && !variables.mountPath.endsWith('/') && !variables.mountPath.matches('//|/[.][.]?(/|$)|[:$\\x00\\n\\r]')",
		fmt.Sprintf("!%s.exists(directory, directory.startsWith(variables.mountPath + '/'))", quoted(settings.Directories()...)),
		"variables.env.all(name, name.matches('^[-._a-zA-Z][-._a-zA-Z0-9]*$') && name != 'none' && name != '.' && !name.startsWith('..'))",
		fmt.Sprintf("(%s) in ['none', 'restart']", setting(v1alpha1.OnRotation, "'none'")),
		fmt.Sprintf("('%[1]s' in variables.annotations ? size(variables.names) > 0 && (variables.names == ['*'] || "+
			"variables.names.all(name, variables.containers.exists(c, c.name == name))) : !('%[1]s' in variables.namespaceAnnotations))", v1alpha1.Containers),
	}, " &&\n")
}

// chosen are the names of the containers that are to carry the CA.
func (i *injection) chosen() string {
	otherwise := "variables.clients"
	if i.source == inject.SourcePod {
		otherwise = "size(variables.clients) > 0 ? variables.clients : object.spec.containers.filter(c, !" + s3client.HelperCEL() + ").map(c, c.name)"
	}
	return "!variables.valid ? [] : '*' in variables.names ? variables.containers.map(c, c.name) : " +
		"size(variables.names) > 0 ? variables.names : " + otherwise
}

// existing are the pod's own volumes of our CA, each as name/file.
func existing() string {
	item := func(field string) string {
		return fmt.Sprintf("!(has(v.%[1]s.optional) && v.%[1]s.optional) && has(v.%[1]s.items) && size(v.%[1]s.items) == 1 && v.%[1]s.items[0].key == variables.caKey", field)
	}
	return "variables.volumes.filter(v,\n" +
		fmt.Sprintf("variables.caKind == '%s' ? has(v.secret) && has(v.secret.secretName) && v.secret.secretName == variables.caName && %s :\n", v1alpha1.Secret, item("secret")) +
		fmt.Sprintf("variables.caKind == '%s' ? has(v.configMap) && has(v.configMap.name) && v.configMap.name == variables.caName && %s :\n", v1alpha1.ConfigMap, item("configMap")) +
		"has(v.projected) && has(v.projected.sources) && size(v.projected.sources) == 1 && has(v.projected.sources[0].clusterTrustBundle) && " +
		"has(v.projected.sources[0].clusterTrustBundle.name) && v.projected.sources[0].clusterTrustBundle.name == variables.caName && " +
		"!(has(v.projected.sources[0].clusterTrustBundle.optional) && v.projected.sources[0].clusterTrustBundle.optional)\n" +
		").map(v, v.name + '/' + (has(v.secret) ? v.secret.items[0].path : has(v.configMap) ? v.configMap.items[0].path : v.projected.sources[0].clusterTrustBundle.path))"
}

// volumeNames are tried in this order.
func volumeNames() []string {
	names := []string{"s3-tls-cert"}
	for n := 2; n <= 20; n++ {
		names = append(names, fmt.Sprintf("s3-tls-cert-%d", n))
	}
	return names
}

// comparable renders a path with a slash at its end, and /var/run as /run, so
// that one lies at or below another where it begins with it.
func comparable(path string) string {
	return fmt.Sprintf("[%[1]s].map(p, p.matches('^/var/run(/|$)') ? p.substring(4) : p).map(p, p.endsWith('/') ? p : p + '/')[0]", path)
}

// mountedAt tells whether container c has the file at a path already.
func mountedAt(path string) string {
	return fmt.Sprintf("(has(c.volumeMounts) && c.volumeMounts.exists(m, %s == %s && (m.name + '/' + (has(m.subPath) ? m.subPath : '')) in variables.existing))",
		comparable("m.mountPath"), comparable(path))
}

// choosePath is where container c has the file or can have it; empty where
// every place is taken.
func choosePath() string {
	at := func(path string) string { return fmt.Sprintf("own.exists(o, o.startsWith(%s))", comparable(path)) }
	above := func(path string) string { return fmt.Sprintf("own.exists(o, %s.startsWith(o))", comparable(path)) }
	const wanted, first, last = "variables.mountPath", "'/var/run/s3-tls/s3-ca.crt'", "'/s3-tls/s3-ca.crt'"
	own := fmt.Sprintf("((has(c.volumeMounts) ? c.volumeMounts.map(m, m.mountPath) : []) + (has(c.volumeDevices) ? c.volumeDevices.map(d, d.devicePath) : [])).map(path, %s)", comparable("path"))
	return "[" + own + "].map(own,\n" + strings.Join([]string{
		mountedAt(wanted) + " ? " + wanted,
		at(wanted) + " ? ''",
		"!" + above(wanted) + " ? " + wanted,
		mountedAt(first) + " ? " + first,
		"!" + at(first) + " && !" + above(first) + " ? " + first,
		mountedAt(last) + " ? " + last,
		"!" + at(last) + " ? " + last + " : ''",
	}, " :\n") + ")[0]"
}

// patch renders the JSON Patch: annotation, volume, containers.
func (i *injection) patch() string {
	key := strings.ReplaceAll(v1alpha1.InjectedBy, "/", "~1")
	annotation := fmt.Sprintf("(size(variables.unmounted) + size(variables.unset) == 0 || '%[1]s' in variables.annotations ? [] : has(object.metadata.annotations) ?\n"+
		"[JSONPatch{op: 'add', path: '/metadata/annotations/%[2]s', value: '%[3]s'}] :\n"+
		"[JSONPatch{op: 'add', path: '/metadata/annotations', value: {'%[1]s': '%[3]s'}}])", v1alpha1.InjectedBy, key, i.source)
	return strings.Join([]string{annotation, volumePatch(), containersPatch("initContainers"), containersPatch("containers")}, " +\n")
}

// The values are maps, whose members are dyn since they are of several types. Lists of
// typed objects (Object.spec.volumes{…}) crash the API server of Kubernetes 1.36.

func volumePatch() string {
	const items = "'items': dyn([{'key': dyn(variables.caKey), 'path': dyn(variables.file)}])"
	volume := fmt.Sprintf("(variables.caKind == '%s' ? {'name': dyn(variables.volume), 'secret': dyn({'secretName': dyn(variables.caName), %s})} :\n", v1alpha1.Secret, items) +
		fmt.Sprintf("variables.caKind == '%s' ? {'name': dyn(variables.volume), 'configMap': dyn({'name': dyn(variables.caName), %s})} :\n", v1alpha1.ConfigMap, items) +
		"{'name': dyn(variables.volume), 'projected': dyn({'sources': [{'clusterTrustBundle': {'name': dyn(variables.caName), 'path': dyn(variables.file)}}]})})"
	return "(size(variables.unmounted) == 0 || size(variables.existing) > 0 ? [] :\n" + add("'/spec/volumes'", "size(variables.volumes) > 0", volume) + ")"
}

// containersPatch adds the mounts and variables of one of the two lists.
func containersPatch(list string) string {
	const mount = "{'name': dyn(variables.volume), 'mountPath': dyn(variables.paths[c.name]), 'subPath': dyn(variables.file), 'readOnly': dyn(true)}"
	const variable = "{'name': dyn(name), 'value': dyn(variables.paths[c.name])}"
	pointer := func(field string) string { return fmt.Sprintf("'/spec/%s/' + string(i) + '/%s'", list, field) }
	env := fmt.Sprintf("(has(c.env) && size(c.env) > 0 ?\nvariables.env.filter(name, %[1]s).map(name, JSONPatch{op: 'add', path: %[2]s + '/-', value: %[3]s}) :\n"+
		"[JSONPatch{op: 'add', path: %[2]s, value: variables.env.map(name, %[3]s)}])", missing, pointer("env"), variable)
	return fmt.Sprintf("(has(object.spec.%[1]s) ? object.spec.%[1]s : []).transformList(i, c,\n"+
		"(c.name in variables.unmounted ? %[2]s : []) +\n(c.name in variables.unset ? %[3]s : [])).flatten()",
		list, add(pointer("volumeMounts"), "has(c.volumeMounts) && size(c.volumeMounts) > 0", mount), env)
}

// add appends a value to the list at a pointer, or adds the list.
func add(pointer, filled, value string) string {
	return fmt.Sprintf("(%[2]s ? [JSONPatch{op: 'add', path: %[1]s + '/-', value: %[3]s}] : [JSONPatch{op: 'add', path: %[1]s, value: [%[3]s]}])", pointer, filled, value)
}

func withinBounds() string { return "!(" + s3client.BoundsCEL() + ")" }

// literal renders what a user wrote as a string of CEL.
func literal(text string) string { return strconv.QuoteToASCII(text) }

// quoted renders a list of our own words.
func quoted(words ...string) string {
	if len(words) == 0 {
		return "[]"
	}
	return "['" + strings.Join(words, "', '") + "']"
}
