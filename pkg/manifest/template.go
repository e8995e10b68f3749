package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/kustomize/kyaml/yaml"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/api/v1alpha1"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/inject"
)

// Template is a pod or a pod template in a document.
type Template struct {
	Document *Document
	Kind     string
	// Namespace is empty where the object names none.
	Namespace string
	// Name is metadata.name, else metadata.generateName with its dash.
	Name string
	Pod  inject.Pod
	// ClaimTemplates are the names of a StatefulSet's volumeClaimTemplates.
	ClaimTemplates []string
	// ObjectAnnotations are those of the object that holds the template.
	ObjectAnnotations map[string]string
	// Path leads from the document's root to the template: items, 0, spec, template.
	Path []string
	// Warnings are about the text of the document.
	Warnings []inject.Message
}

// templatePaths leads from an object to its pod template, by group and kind.
var templatePaths = map[string][]string{ //nolint:gochecknoglobals // constant
	"/Pod":                   {},
	"/PodTemplate":           {"template"},
	"/ReplicationController": {"spec", "template"},
	"apps/Deployment":        {"spec", "template"},
	"apps/StatefulSet":       {"spec", "template"},
	"apps/DaemonSet":         {"spec", "template"},
	"apps/ReplicaSet":        {"spec", "template"},
	"batch/Job":              {"spec", "template"},
	"batch/CronJob":          {"spec", "jobTemplate", "spec", "template"},
}

// object is what is read of any Kubernetes object.
type object struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name         string            `json:"name"`
		GenerateName string            `json:"generateName"`
		Namespace    string            `json:"namespace"`
		Labels       map[string]string `json:"labels"`
		Annotations  map[string]string `json:"annotations"`
	} `json:"metadata"`
	Items []json.RawMessage `json:"items"`
	Spec  struct {
		VolumeClaimTemplates []struct {
			Metadata struct {
				Name string `json:"name"`
			} `json:"metadata"`
		} `json:"volumeClaimTemplates"`
	} `json:"spec"`
}

// head is what is read to tell objects of interest from others, whose fields
// may have any type.
type head struct {
	APIVersion any `json:"apiVersion"`
	Kind       any `json:"kind"`
}

// Templates returns the pod templates of the document; those of a List's items too.
func (d *Document) Templates() ([]*Template, error) {
	var templates []*Template
	err := d.objects(func(o object, raw any, path []string) error {
		toTemplate, ok := templatePaths[o.group()+"/"+o.Kind]
		if !ok {
			return nil
		}
		t, err := d.template(o, raw, append(slices.Clone(path), toTemplate...), toTemplate)
		if err != nil || t == nil {
			return err
		}
		templates = append(templates, t)
		return nil
	})
	if err != nil || len(templates) == 0 {
		return nil, err
	}
	for _, warning := range d.DuplicateKeys() {
		t := templates[0]
		for _, other := range templates {
			if len(t.Path) > 0 && strings.HasPrefix(warning.Path, dotted(other.Path[:min(2, len(other.Path))])+".") {
				t = other
				break
			}
		}
		t.Warnings = append(t.Warnings, warning)
	}
	return templates, nil
}

// DuplicateKeys warns of the keys that a mapping of the document holds twice.
func (d *Document) DuplicateKeys() []inject.Message {
	if d.root == nil {
		return nil
	}
	return d.duplicateKeys(d.root, nil)
}

// Namespaces returns the Namespace objects of the document.
func (d *Document) Namespaces() ([]inject.Namespace, error) {
	var namespaces []inject.Namespace
	err := d.objects(func(o object, _ any, _ []string) error {
		if o.group() == "" && o.Kind == "Namespace" {
			namespaces = append(namespaces, inject.Namespace{Name: o.Metadata.Name, Labels: o.Metadata.Labels, Annotations: o.Metadata.Annotations})
		}
		return nil
	})
	return namespaces, err
}

// Policies returns the InjectionPolicy objects of the document.
func (d *Document) Policies() ([]*v1alpha1.InjectionPolicy, error) {
	var policies []*v1alpha1.InjectionPolicy
	err := d.objects(func(o object, raw any, path []string) error {
		if o.APIVersion != v1alpha1.APIVersion || o.Kind != v1alpha1.PolicyKind {
			return nil
		}
		policy := &v1alpha1.InjectionPolicy{}
		data, err := json.Marshal(raw)
		if err != nil {
			return err
		}
		strict, err := kjson.UnmarshalStrict(data, policy)
		if err = errors.Join(append([]error{err}, strict...)...); err != nil {
			return d.errorAt(lookup(d.root, path), fmt.Errorf("policy %q: %w", o.Metadata.Name, err))
		}
		policies = append(policies, policy)
		return nil
	})
	return policies, err
}

// objects visits the document's object, or the items of a List.
func (d *Document) objects(visit func(o object, raw any, path []string) error) error {
	if d.object == nil {
		return nil
	}
	return d.visit(d.object, nil, visit)
}

func (d *Document) visit(raw any, path []string, visit func(o object, raw any, path []string) error) error {
	data, err := json.Marshal(raw)
	if err != nil {
		return err
	}
	var h head
	if err := kjson.UnmarshalCaseSensitivePreserveInts(data, &h); err != nil {
		return d.errorAt(lookup(d.root, path), errors.New("not a Kubernetes object; a manifest is a mapping"))
	}
	apiVersion, _ := h.APIVersion.(string)
	kind, _ := h.Kind.(string)
	o := object{APIVersion: apiVersion, Kind: kind}
	if !o.isOfInterest() {
		return nil
	}
	if err := d.checkStrings(raw, append(slices.Clone(path), "metadata")); err != nil {
		return err
	}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(data, &o); err != nil {
		return d.decodeError(err, path)
	}
	if !strings.HasSuffix(o.Kind, "List") {
		return visit(o, raw, path)
	}
	items, _ := raw.(map[string]any)["items"].([]any)
	for i, item := range items {
		if err := d.visit(item, append(slices.Clone(path), "items", strconv.Itoa(i)), visit); err != nil {
			return err
		}
	}
	return nil
}

func (o *object) group() string {
	group, _, found := strings.Cut(o.APIVersion, "/")
	if !found {
		return ""
	}
	return group
}

func (o *object) isOfInterest() bool {
	_, isTemplate := templatePaths[o.group()+"/"+o.Kind]
	isList := o.Kind == "List" && o.APIVersion == "v1"
	if kind, ok := strings.CutSuffix(o.Kind, "List"); ok && !isList {
		_, isList = templatePaths[o.group()+"/"+kind]
	}
	return isTemplate || isList || (o.APIVersion == "v1" && o.Kind == "Namespace") || o.Kind == v1alpha1.PolicyKind
}

func (o *object) name() string {
	if o.Metadata.Name != "" {
		return o.Metadata.Name
	}
	return o.Metadata.GenerateName
}

func (d *Document) template(o object, raw any, path, toTemplate []string) (*Template, error) {
	for _, step := range toTemplate {
		fields, _ := raw.(map[string]any)
		raw = fields[step]
	}
	if raw == nil {
		return nil, nil //nolint:nilnil // an object without a template has none, and that is no error of ours
	}
	t := &Template{Document: d, Kind: o.Kind, Namespace: o.Metadata.Namespace, Name: o.name(), ObjectAnnotations: o.Metadata.Annotations, Path: path}
	for _, claim := range o.Spec.VolumeClaimTemplates {
		t.ClaimTemplates = append(t.ClaimTemplates, claim.Metadata.Name)
	}
	if err := d.checkStrings(raw, append(slices.Clone(path), "metadata")); err != nil {
		return nil, err
	}
	data, err := json.Marshal(raw)
	if err != nil {
		return nil, err
	}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(data, &t.Pod); err != nil {
		return nil, d.decodeError(err, path)
	}
	return t, nil
}

// checkStrings refuses annotations and labels that YAML reads as no string.
func (d *Document) checkStrings(raw any, path []string) error {
	fields, _ := raw.(map[string]any)
	metadata, _ := fields["metadata"].(map[string]any)
	for _, field := range []string{"annotations", "labels"} {
		values, _ := metadata[field].(map[string]any)
		for _, key := range slices.Sorted(maps.Keys(values)) {
			if _, ok := values[key].(string); ok {
				continue
			}
			at := append(slices.Clone(path), field, key)
			return d.errorAt(lookup(d.root, at), fmt.Errorf("%s: the value is read as %s, not as a string; quote it: %s",
				dotted(at), typeName(values[key]), quoted(lookup(d.root, at))))
		}
	}
	return nil
}

func typeName(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "a boolean"
	case float64:
		return "a number"
	case []any:
		return "a list"
	default:
		return "a mapping"
	}
}

// quoted renders a scalar as the user should write it.
func quoted(node *yaml.Node) string {
	if node == nil || node.Kind != yaml.ScalarNode || node.Value == "" {
		return `"…"`
	}
	return strconv.Quote(node.Value)
}

// decodeError says which field has the wrong type, and in which line.
func (d *Document) decodeError(err error, path []string) error {
	wrong := &json.UnmarshalTypeError{}
	node := lookup(d.root, path)
	if !errors.As(err, &wrong) {
		return d.errorAt(node, err)
	}
	field := strings.TrimPrefix(dotted(path)+"."+wrong.Field, ".")
	for _, candidate := range candidates(node, strings.Split(wrong.Field, ".")) {
		if !fits(candidate, wrong.Type) {
			node = candidate
			break
		}
	}
	hint := ""
	if wrong.Type.Kind() == reflect.String && (wrong.Value == "number" || wrong.Value == "bool") {
		hint = "; quote it: " + quoted(node)
	}
	return d.errorAt(node, fmt.Errorf("%s: the value is read as a %s, where %s is wanted%s", field, wrong.Value, wantedName(wrong.Type), hint))
}

func wantedName(wanted reflect.Type) string {
	switch wanted.Kind() { //nolint:exhaustive // the other kinds are numbers
	case reflect.String:
		return "a string"
	case reflect.Map, reflect.Struct:
		return "a mapping"
	case reflect.Slice:
		return "a list"
	case reflect.Bool:
		return "true or false"
	default:
		return "a number"
	}
}

// candidates returns every node that a path without indexes leads to.
func candidates(node *yaml.Node, path []string) []*yaml.Node {
	if node == nil {
		return nil
	}
	if node.Kind == yaml.SequenceNode {
		var found []*yaml.Node
		for _, item := range node.Content {
			found = append(found, candidates(item, path)...)
		}
		return found
	}
	if len(path) == 0 {
		return []*yaml.Node{node}
	}
	return candidates(lookup(node, path[:1]), path[1:])
}

func fits(node *yaml.Node, wanted reflect.Type) bool {
	switch wanted.Kind() { //nolint:exhaustive // the other kinds are scalars
	case reflect.String:
		return isString(node)
	case reflect.Map, reflect.Struct:
		return node.Kind == yaml.MappingNode
	case reflect.Slice:
		return node.Kind == yaml.SequenceNode
	default:
		return node.Kind == yaml.ScalarNode && node.ShortTag() != yaml.NodeTagString
	}
}

// isString tells whether kubectl reads a scalar as a string. It reads YAML 1.1, in
// which a plain yes, on or y is a boolean.
func isString(node *yaml.Node) bool {
	plain := node.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0
	if plain && slices.Contains([]string{"y", "n", "yes", "no", "on", "off"}, strings.ToLower(node.Value)) {
		return false
	}
	return node.ShortTag() == yaml.NodeTagString
}

// duplicateKeys warns of keys that a mapping holds twice.
func (d *Document) duplicateKeys(node *yaml.Node, path []string) []inject.Message {
	var warnings []inject.Message
	if node.Kind == yaml.SequenceNode {
		for i, item := range node.Content {
			warnings = append(warnings, d.duplicateKeys(item, append(slices.Clone(path), strconv.Itoa(i)))...)
		}
	}
	if node.Kind != yaml.MappingNode {
		return warnings
	}
	lines := map[string]int{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key := node.Content[i]
		at := append(slices.Clone(path), key.Value)
		if first, ok := lines[key.Value]; ok {
			warnings = append(warnings, inject.Message{Path: dotted(at), Text: fmt.Sprintf(
				"the key is given twice, in lines %d and %d; the last one counts", d.line+first, d.line+key.Line)})
		}
		lines[key.Value] = key.Line
		warnings = append(warnings, d.duplicateKeys(node.Content[i+1], at)...)
	}
	return warnings
}

// Dotted renders the path from the document's root to a place in the pod, as in
// spec.template.spec.containers[0].env.
func (t *Template) Dotted(podPath string) string {
	if len(t.Path) == 0 || podPath == "" {
		return podPath
	}
	return dotted(t.Path) + "." + podPath
}

// dotted renders a path for people: items[0].metadata.annotations[s3-tls/inject].
func dotted(path []string) string {
	var b bytes.Buffer
	for i, step := range path {
		switch {
		case strings.Trim(step, "0123456789") == "", i > 0 && (path[i-1] == "annotations" || path[i-1] == "labels"):
			fmt.Fprintf(&b, "[%s]", step)
		case i > 0:
			b.WriteString("." + step)
		default:
			b.WriteString(step)
		}
	}
	return b.String()
}
