package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/settings"
)

// controllerGen writes the methods of the types in pkg/api, and their CRD into a folder.
func controllerGen(folder string) error {
	cmd := exec.Command("go", "tool", "-modfile=hack/tools/controller-gen/go.mod", "controller-gen", //nolint:noctx,gosec // ends by itself, and the folder is ours
		"object", "crd", "paths=./pkg/api/...", "output:crd:dir="+folder)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("controller-gen: %w: %s", err, out)
	}
	return nil
}

// policyCRD returns the CRD of InjectionPolicy: what controller-gen makes of the
// markers, and the rules that no marker can state.
func policyCRD() ([]byte, error) {
	folder, err := os.MkdirTemp("", "s3-tls-injector-crd-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(folder) }() // a temporary one
	if err := controllerGen(folder); err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil || len(files) != 1 {
		return nil, fmt.Errorf("controller-gen wrote %d CRDs, %w", len(files), err)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		return nil, err
	}
	var crd apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(text, &crd); err != nil {
		return nil, err
	}
	crd.Labels = map[string]string{"app.kubernetes.io/name": name}
	spec := crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"]
	spec.Properties["mountPath"] = noDirectory(spec.Properties["mountPath"])
	for _, selector := range []string{"namespaceSelector", "podSelector"} {
		spec.Properties[selector] = strictSelector(spec.Properties[selector])
	}
	crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"] = spec
	return yaml.Marshal(struct { // without status
		APIVersion string                                       `json:"apiVersion"`
		Kind       string                                       `json:"kind"`
		Metadata   any                                          `json:"metadata"`
		Spec       apiextensionsv1.CustomResourceDefinitionSpec `json:"spec"`
	}{crd.APIVersion, crd.Kind, map[string]any{"name": crd.Name, "labels": crd.Labels, "annotations": crd.Annotations}, crd.Spec})
}

// noDirectory refuses paths that every image has a directory at.
func noDirectory(path apiextensionsv1.JSONSchemaProps) apiextensionsv1.JSONSchemaProps {
	directories := "'" + strings.Join(settings.Directories(), "', '") + "'"
	path.XValidations = append(path.XValidations, rule(
		fmt.Sprintf("!self.startsWith('/') || !(self.endsWith('/') || [%s].exists(directory, directory.startsWith(self + '/')))", directories),
		"is a directory; name a file in it",
	))
	return path
}

// Rules for a label selector, which the API server checks where it uses one
// itself, but not in a custom resource.
const (
	maxRequirements = 32
	maxValues       = 256
	maxKey          = 317 // a prefix of 253, a slash, a name of 63
	maxPrefix       = 253
	maxLabelValue   = 63

	keyPattern   = `^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$`
	valuePattern = `^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$`
)

func strictSelector(selector apiextensionsv1.JSONSchemaProps) apiextensionsv1.JSONSchemaProps {
	value := apiextensionsv1.JSONSchemaProps{
		Type: "string", MaxLength: new(int64(maxLabelValue)),
		XValidations: apiextensionsv1.ValidationRules{rule("self.matches('"+valuePattern+"')", "is no valid value of a label")},
	}

	labels := selector.Properties["matchLabels"]
	labels.MaxProperties = new(int64(maxRequirements))
	labels.AdditionalProperties.Schema = &value
	labels.XValidations = apiextensionsv1.ValidationRules{ruleTelling(
		"self.all(key, "+validKey("key")+")",
		`'"' + self.filter(key, !(`+validKey("key")+`))[0] + '" is no valid key of a label'`,
	)}
	selector.Properties["matchLabels"] = labels

	expressions := selector.Properties["matchExpressions"]
	expressions.MaxItems = new(int64(maxRequirements))
	requirement := expressions.Items.Schema
	key := requirement.Properties["key"]
	key.MaxLength = new(int64(maxKey))
	key.XValidations = apiextensionsv1.ValidationRules{rule(validKey("self"), "is no valid key of a label")}
	requirement.Properties["key"] = key
	operator := requirement.Properties["operator"]
	for _, name := range []string{"In", "NotIn", "Exists", "DoesNotExist"} {
		operator.Enum = append(operator.Enum, apiextensionsv1.JSON{Raw: []byte(`"` + name + `"`)})
	}
	requirement.Properties["operator"] = operator
	values := requirement.Properties["values"]
	values.MaxItems = new(int64(maxValues))
	values.Items.Schema = &value
	requirement.Properties["values"] = values
	requirement.XValidations = apiextensionsv1.ValidationRules{ruleTelling(
		"self.operator in ['In', 'NotIn'] ? has(self.values) && size(self.values) > 0 : !has(self.values) || size(self.values) == 0",
		`self.operator in ['In', 'NotIn'] ? self.operator + ' needs values' : self.operator + ' takes no values'`,
	)}
	selector.Properties["matchExpressions"] = expressions
	return selector
}

func validKey(name string) string {
	return fmt.Sprintf("%[1]s.matches('%[2]s') && (!%[1]s.contains('/') || size(%[1]s.split('/')[0]) <= %[3]d)", name, keyPattern, maxPrefix)
}

// rule fails where the expression is false. The API server puts the field and its
// value before the message.
func rule(expression, message string) apiextensionsv1.ValidationRule {
	return apiextensionsv1.ValidationRule{Rule: expression, Message: message}
}

// ruleTelling is a rule whose message an expression makes.
func ruleTelling(expression, message string) apiextensionsv1.ValidationRule {
	return apiextensionsv1.ValidationRule{Rule: expression, MessageExpression: message}
}
