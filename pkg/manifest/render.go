package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"

	"sigs.k8s.io/kustomize/kyaml/yaml"
)

// blockLines renders an element of a mapping or sequence in block style.
func blockLines(parent *yaml.Node, key string, value any) ([]string, error) {
	node, err := toNode(value, 0)
	if err != nil {
		return nil, err
	}
	element := &yaml.Node{Kind: yaml.SequenceNode, Content: []*yaml.Node{node}}
	if parent.Kind == yaml.MappingNode {
		element = &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{yaml.NewStringRNode(key).YNode(), node}}
	}
	text, err := encode(element)
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n"), err
}

// flowText renders a value in flow style, as JSON in a JSON document.
func (t *lines) flowText(value any) (string, error) {
	if t.isJSON() {
		data, err := json.Marshal(value)
		return string(data), err
	}
	node, err := toNode(value, yaml.FlowStyle)
	if err != nil {
		return "", err
	}
	text, err := encode(node)
	return strings.TrimSuffix(text, "\n"), err
}

func encode(node *yaml.Node) (string, error) {
	var b bytes.Buffer
	encoder := yaml.NewEncoderWithOptions(&b, &yaml.EncoderOptions{SeqIndent: yaml.CompactSequenceStyle})
	err := errors.Join(encoder.Encode(node), encoder.Close())
	return b.String(), err
}

// toNode turns a value into a node, keys in the order of the Go type's fields.
func toNode(value any, style yaml.Style) (*yaml.Node, error) {
	data, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	node, err := parseNode(data)
	if err != nil {
		return nil, err
	}
	setStyle(node, style)
	return node, nil
}

func setStyle(node *yaml.Node, style yaml.Style) {
	node.Style = style
	if node.Kind == yaml.ScalarNode {
		node.Tag = node.ShortTag()
		node.Style = 0
	}
	for _, child := range node.Content {
		setStyle(child, style)
	}
}
