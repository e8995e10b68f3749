package manifest

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"sigs.k8s.io/kustomize/kyaml/yaml"
)

// lookup follows a path through mappings and sequences; nil where it ends. Of
// a key given twice the last counts.
func lookup(node *yaml.Node, path []string) *yaml.Node {
	for _, step := range path {
		if node != nil && node.Kind == yaml.AliasNode {
			node = node.Alias
		}
		if node == nil {
			return nil
		}
		node = child(node, step)
	}
	return node
}

// child returns the value of a key, or the element of an index.
func child(node *yaml.Node, step string) *yaml.Node {
	if node.Kind == yaml.MappingNode {
		return valueOf(node, step)
	}
	i, err := strconv.Atoi(step)
	if node.Kind != yaml.SequenceNode || err != nil || i < 0 || i >= len(node.Content) {
		return nil
	}
	return node.Content[i]
}

// valueOf returns the value of a key, also of one that is merged in by <<.
func valueOf(mapping *yaml.Node, key string) *yaml.Node {
	if i := keyIndex(mapping, key); i >= 0 {
		return mapping.Content[i+1]
	}
	if i := keyIndex(mapping, "<<"); i >= 0 {
		merged := mapping.Content[i+1]
		if merged.Kind == yaml.AliasNode {
			merged = merged.Alias
		}
		if merged.Kind == yaml.MappingNode {
			return valueOf(merged, key)
		}
	}
	return nil
}

func keyIndex(mapping *yaml.Node, key string) int {
	for i := len(mapping.Content) - 2; i >= 0; i -= 2 {
		if mapping.Content[i].Value == key {
			return i
		}
	}
	return -1
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

// Dotted renders the path from the document's root to a place in the pod, as in
// spec.template.spec.containers[0].env.
func (t *Template) Dotted(podPath string) string {
	if ofPod := strings.HasPrefix(podPath, "spec") || strings.HasPrefix(podPath, "metadata"); len(t.Path) == 0 || !ofPod {
		return podPath // what it names lies elsewhere
	}
	return dotted(t.Path) + "." + podPath
}
