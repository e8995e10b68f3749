package manifest

import (
	"strings"

	"sigs.k8s.io/kustomize/kyaml/yaml"
)

// withoutAliases replaces each alias in a text by what its anchor holds, written
// in flow style, so that one of them can be edited without the others.
func withoutAliases(text []byte) ([]byte, error) {
	root, err := parseNode(text)
	if err != nil {
		return nil, err
	}
	aliases := aliasesIn(root)
	for i := len(aliases) - 1; i >= 0; i-- { // from the last, so that places stay what they are
		t := newLines(text)
		node := copyOf(aliases[i])
		setStyle(node, yaml.FlowStyle)
		value, err := encode(node)
		if err != nil {
			return nil, err
		}
		from := t.offset(aliases[i])
		text = t.splice(from, from+len("*")+len(aliases[i].Value), strings.TrimSuffix(value, "\n"))
	}
	return text, nil
}

// aliasesIn returns the aliases under a node in the order of the text.
func aliasesIn(node *yaml.Node) []*yaml.Node {
	if node.Kind == yaml.AliasNode {
		return []*yaml.Node{node}
	}
	var aliases []*yaml.Node
	for _, child := range node.Content {
		aliases = append(aliases, aliasesIn(child)...)
	}
	return aliases
}

// copyOf copies a node without its anchors, comments and aliases.
func copyOf(node *yaml.Node) *yaml.Node {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	c := &yaml.Node{Kind: node.Kind, Tag: node.Tag, Value: node.Value}
	for _, child := range node.Content {
		c.Content = append(c.Content, copyOf(child))
	}
	return c
}
