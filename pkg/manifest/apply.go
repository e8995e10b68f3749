package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"

	jsonpatch "gomodules.xyz/jsonpatch/v2"
	jsonpatchv4 "gopkg.in/evanphx/json-patch.v4"
	"sigs.k8s.io/kustomize/kyaml/yaml"
)

// Pointer returns a JSON pointer from the document's root for one from the template.
func (t *Template) Pointer(podPointer string) string {
	if len(t.Path) == 0 {
		return podPointer
	}
	return "/" + strings.Join(t.Path, "/") + podPointer
}

// Apply returns the document's text with the operations, all "add", made in it.
// Aliases are written out where the text cannot be edited otherwise.
func (d *Document) Apply(ops []jsonpatch.Operation) ([]byte, error) {
	if len(ops) == 0 {
		return d.Text, nil
	}
	want, err := patched(d.Text, ops)
	if err != nil {
		return nil, d.errorAt(nil, err)
	}
	edited, err := editText(d.Text, ops, want)
	if err == nil {
		return edited, nil
	}
	plain, plainErr := withoutAliases(d.Text)
	if plainErr != nil {
		return nil, d.errorAt(nil, errors.Join(err, plainErr))
	}
	if edited, err = editText(plain, ops, want); err != nil {
		return nil, d.errorAt(nil, err)
	}
	return edited, nil
}

// patched returns the data of a text with the operations applied to it.
func patched(text []byte, ops []jsonpatch.Operation) (any, error) {
	data, err := toJSON(text)
	if err != nil {
		return nil, err
	}
	encoded, err := json.Marshal(ops)
	if err != nil {
		return nil, err
	}
	patch, err := jsonpatchv4.DecodePatch(encoded)
	if err != nil {
		return nil, err
	}
	if data, err = patch.Apply(data); err != nil {
		return nil, err
	}
	var want any
	return want, json.Unmarshal(data, &want)
}

// editText makes the operations in the text one by one and checks that the
// result reads as wanted.
func editText(text []byte, ops []jsonpatch.Operation, want any) ([]byte, error) {
	for _, op := range ops {
		var err error
		if text, err = insert(text, op); err != nil {
			return nil, fmt.Errorf("add %s: %w", op.Path, err)
		}
	}
	data, err := toJSON(text)
	if err != nil {
		return nil, err
	}
	var got any
	if err := json.Unmarshal(data, &got); err != nil {
		return nil, err
	}
	if !reflect.DeepEqual(got, want) {
		return nil, errors.New("the layout of the document cannot be edited; write it in block style")
	}
	return text, nil
}

// insert makes one operation: a new key in a mapping, or a new last element of
// a sequence.
func insert(text []byte, op jsonpatch.Operation) ([]byte, error) {
	steps := strings.Split(strings.TrimPrefix(op.Path, "/"), "/")
	for i, step := range steps {
		steps[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(step)
	}
	root, err := parseNode(text)
	if err != nil {
		return nil, err
	}
	last := len(steps) - 1
	parent, key := lookup(root, steps[:last]), steps[last]
	if parent == nil || parent.Kind != yaml.MappingNode && parent.Kind != yaml.SequenceNode {
		return nil, errors.New("the parent is no mapping or sequence")
	}
	t := newLines(text)
	if i := keyIndex(parent, key); parent.Kind == yaml.MappingNode && i >= 0 {
		return t.setEmpty(parent, parent.Content[i], parent.Content[i+1], op.Value)
	}
	if parent.Style&yaml.FlowStyle != 0 {
		return t.insertFlow(parent, key, op.Value)
	}
	return t.insertBlock(parent, key, op.Value)
}
