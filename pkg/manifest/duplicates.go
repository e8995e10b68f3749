package manifest

import (
	"fmt"
	"slices"
	"strconv"

	"sigs.k8s.io/kustomize/kyaml/yaml"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/inject"
)

// DuplicateKeys warns of the keys that a mapping of the document holds twice.
func (d *Document) DuplicateKeys() []inject.Message {
	if d.root == nil {
		return nil
	}
	return d.duplicateKeys(d.root, nil)
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
