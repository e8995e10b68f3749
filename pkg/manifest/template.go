package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	kjson "sigs.k8s.io/json"

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
