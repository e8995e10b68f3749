package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/kustomize/kyaml/yaml"
)

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
