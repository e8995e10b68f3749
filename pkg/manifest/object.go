package manifest

import (
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"

	kjson "sigs.k8s.io/json"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/api/v1alpha1"
)

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
