package manifest

import (
	"bytes"
	"errors"
	"regexp"
	"strings"
	"unicode/utf8"

	"sigs.k8s.io/kustomize/kyaml/yaml"
)

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

// setEmpty gives a value to a key that has an empty one: null, [], {} or nothing. A text takes the
// place of another one.
func (t *lines) setEmpty(parent, key, old *yaml.Node, value any) ([]byte, error) {
	if text, ok := value.(string); ok && old.Kind == yaml.ScalarNode && old.ShortTag() != yaml.NodeTagNull {
		return t.setScalar(old, text)
	}
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

// setScalar puts a text in the place of a scalar that stands on one line.
func (t *lines) setScalar(old *yaml.Node, text string) ([]byte, error) {
	with, err := t.flowText(text)
	if err != nil {
		return nil, err
	}
	from := t.offset(old)
	to := from + len(old.Value)
	if quoted := old.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0; quoted {
		to = t.quoteEnd(from) + 1
	} else if old.Style != 0 || !bytes.HasPrefix(t.text[from:], []byte(old.Value)) {
		return nil, errors.New("the value cannot be replaced; write it on one line")
	}
	if to > len(t.text) || bytes.ContainsRune(t.text[from:to], '\n') {
		return nil, errors.New("the value cannot be replaced; write it on one line")
	}
	return t.splice(from, to, with), nil
}

func (t *lines) isJSON() bool {
	text := t.text
	if isSeparator(t.line(0)) {
		text = t.text[len("---"):]
	}
	text, open := bytes.CutPrefix(bytes.TrimSpace(text), []byte("{"))
	return open && bytes.HasPrefix(bytes.TrimSpace(text), []byte(`"`))
}
