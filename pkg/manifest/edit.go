package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

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

// lines is a text cut into lines, each with its line ending.
type lines struct {
	text    []byte
	starts  []int // offset of each line
	newline string
}

func newLines(text []byte) *lines {
	t := &lines{text: text, newline: "\n"}
	if bytes.Contains(text, []byte("\r\n")) {
		t.newline = "\r\n"
	}
	offset := 0
	for line := range bytes.Lines(text) {
		t.starts = append(t.starts, offset)
		offset += len(line)
	}
	return t
}

func (t *lines) line(i int) []byte {
	if i+1 < len(t.starts) {
		return t.text[t.starts[i]:t.starts[i+1]]
	}
	return t.text[t.starts[i]:]
}

// offset returns the place of a node in the text. Columns count characters.
func (t *lines) offset(node *yaml.Node) int {
	offset := t.starts[node.Line-1]
	if node.Line == 1 && bytes.HasPrefix(t.text, []byte("\ufeff")) {
		offset += len("\ufeff")
	}
	for range node.Column - 1 {
		_, size := utf8.DecodeRune(t.text[offset:])
		offset += size
	}
	return offset
}

// splice replaces text[from:to].
func (t *lines) splice(from, to int, with string) []byte {
	return bytes.Join([][]byte{t.text[:from], []byte(with), t.text[to:]}, nil)
}

// insertBlock adds lines behind the last line of a block mapping or sequence.
func (t *lines) insertBlock(parent *yaml.Node, key string, value any) ([]byte, error) {
	block, err := blockLines(parent, key, value)
	if err != nil {
		return nil, err
	}
	first, err := t.firstPlace(parent)
	if err != nil {
		return nil, err
	}
	return t.insertLines(t.lastLine(parent.Kind, first)+1, first.Column-1, block), nil
}

// firstPlace returns the place of the first key of a block mapping or the first
// dash of a sequence. The collection itself begins at its anchor, where it has one.
func (t *lines) firstPlace(parent *yaml.Node) (*yaml.Node, error) {
	first := parent.Content[0]
	if parent.Kind == yaml.MappingNode {
		return first, nil
	}
	before := t.text[t.starts[first.Line-1]:t.offset(first)]
	dash := bytes.LastIndexByte(before, '-')
	switch {
	case parent.Anchor == "":
		return parent, nil
	case dash < 0:
		return nil, errors.New("the first element is not where its dash is")
	}
	return &yaml.Node{Line: first.Line, Column: dash + 1}, nil
}

func (t *lines) insertLines(at, indent int, block []string) []byte {
	var b strings.Builder
	offset := len(t.text)
	if at < len(t.starts) {
		offset = t.starts[at]
	} else if !bytes.HasSuffix(t.text, []byte("\n")) {
		b.WriteString(t.newline)
	}
	for _, line := range block {
		b.WriteString(strings.Repeat(" ", indent) + line + t.newline)
	}
	return t.splice(offset, offset, b.String())
}

// lastLine returns the index of the last line of a block collection, whose
// first key or dash is given: the last with content that is indented as deep,
// before one that is not. A comment that is indented deeper may be the text of a
// block scalar, and so may a blank line behind one that keeps them.
func (t *lines) lastLine(kind yaml.Kind, first *yaml.Node) int {
	last := first.Line - 1
	keeps := keepsBlankLines.Match(t.line(last))
	for i := first.Line; i < len(t.starts); i++ {
		line := strings.TrimRight(string(t.line(i)), " \t\r\n")
		content := strings.TrimLeft(line, " ")
		indent := len(line) - len(content)
		switch isDash := content == "-" || strings.HasPrefix(content, "- "); {
		case content == "" && keeps:
		case content == "", content[0] == '#' && indent < first.Column:
			continue
		case indent < first.Column-1, indent == 0 && content == "...":
			return last
		case kind == yaml.SequenceNode && indent == first.Column-1 && !isDash:
			return last
		}
		last = i
		keeps = keeps || keepsBlankLines.Match(t.line(i))
	}
	return last
}

// keepsBlankLines matches the header of a block scalar such as |+.
var keepsBlankLines = regexp.MustCompile(`[|>][0-9]?\+[0-9]?[ \t]*(#.*)?\r?\n?$`)

// insertFlow adds an element before the closing bracket of a flow collection.
func (t *lines) insertFlow(parent *yaml.Node, key string, value any) ([]byte, error) {
	end, err := t.closing(t.offset(parent))
	if err != nil {
		return nil, err
	}
	element, err := t.flowText(value)
	if err != nil {
		return nil, err
	}
	if parent.Kind == yaml.MappingNode {
		name, err := t.flowText(key)
		if err != nil {
			return nil, err
		}
		element = name + ": " + element
	}
	at := len(bytes.TrimRight(t.text[:end], " \t\r\n"))
	if bytes.ContainsRune(t.text[at:end], '\n') {
		at = end
	}
	if len(parent.Content) == 0 {
		return t.splice(at, at, element), nil
	}
	// A comma may stand behind the last element already, also before a comment.
	edited := t.splice(at, at, ", "+element)
	if _, err := parseNode(edited); err != nil {
		edited = t.splice(at, at, " "+element)
	}
	return edited, nil
}

// closing returns the offset of the bracket that closes the one at an offset.
func (t *lines) closing(open int) (int, error) {
	depth := 0
	for i := open; i < len(t.text); i++ {
		switch c := t.text[i]; c {
		case '[', '{':
			depth++
		case ']', '}':
			if depth--; depth == 0 {
				return i, nil
			}
		case '"', '\'':
			if strings.IndexByte(" \t\r\n,:[{", t.text[i-1]) >= 0 {
				i = t.quoteEnd(i)
			}
		case '#':
			if n := bytes.IndexByte(t.text[i:], '\n'); n >= 0 && strings.IndexByte(" \t\r\n", t.text[i-1]) >= 0 {
				i += n
			}
		}
	}
	return 0, errors.New("no closing bracket")
}

func (t *lines) quoteEnd(i int) int {
	quote := t.text[i]
	for i++; i < len(t.text) && t.text[i] != quote; i++ {
		if quote == '"' && t.text[i] == '\\' {
			i++
		}
	}
	return i
}

var emptyValue = regexp.MustCompile(`^:[ \t]*?(\[\s*\]|\{\s*\}|null|~)?([ \t]+#[^\r\n]*)?[ \t]*\r?\n?$`)

// setEmpty gives a value to a key that has an empty one: null, [], {} or nothing.
func (t *lines) setEmpty(parent, key, old *yaml.Node, value any) ([]byte, error) {
	if len(old.Content) > 0 || (old.Kind == yaml.ScalarNode && old.ShortTag() != yaml.NodeTagNull) {
		return nil, errors.New("the key has a value")
	}
	if parent.Style&yaml.FlowStyle != 0 {
		element, err := t.flowText(value)
		if err != nil || old.Kind == yaml.ScalarNode && old.Value == "" {
			return nil, errors.Join(err, errors.New("the key has no value"))
		}
		from := t.offset(old)
		to := from + len(old.Value)
		if old.Kind != yaml.ScalarNode {
			if to, err = t.closing(from); err != nil {
				return nil, err
			}
			to++
		}
		return t.splice(from, to, element), nil
	}
	line := t.line(key.Line - 1)
	name := t.offset(key) - t.starts[key.Line-1] + len(key.Value)
	if key.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0 {
		name += 2
	}
	match := emptyValue.FindSubmatch(line[min(name, len(line)):])
	if match == nil {
		return nil, errors.New("the key has a value")
	}
	block, err := blockLines(&yaml.Node{Kind: yaml.MappingNode}, key.Value, value)
	if err != nil {
		return nil, err
	}
	block[0] = string(line[:name]) + ":" + string(match[2])
	for i := range block[1:] {
		block[i+1] = strings.Repeat(" ", key.Column-1) + block[i+1]
	}
	start := t.starts[key.Line-1]
	return t.splice(start, start+len(line), strings.Join(block, t.newline)+t.newline), nil
}

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

func (t *lines) isJSON() bool {
	text := t.text
	if isSeparator(t.line(0)) {
		text = t.text[len("---"):]
	}
	text, open := bytes.CutPrefix(bytes.TrimSpace(text), []byte("{"))
	return open && bytes.HasPrefix(bytes.TrimSpace(text), []byte(`"`))
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
