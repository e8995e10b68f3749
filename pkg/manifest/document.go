// Package manifest reads streams of Kubernetes manifests, finds the pod
// templates in them and writes JSON Patch operations back into the text. It
// edits the text itself, so that comments, key order, blank lines and line
// endings stay as they were, and checks each edit against the patch applied to
// the data. It decides nothing about injection.
package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"sigs.k8s.io/kustomize/kyaml/yaml"
	sigsyaml "sigs.k8s.io/yaml"
)

// Document is one document of a stream, separator line included.
type Document struct {
	// File is the name of the file, "-" for standard input.
	File string
	// Number counts the documents of the file from 1; 0 for one without content.
	Number int
	// Text is the document as it stands in the file.
	Text []byte

	// line is the number of lines of the file before the document.
	line int
	// object is the document as kubectl reads it.
	object map[string]any
	// root is the same with comments and positions.
	root *yaml.Node
}

// Error says what is wrong with a document, and where.
type Error struct {
	File     string
	Document int
	Line     int // in the file, from 1; 0 where unknown
	Err      error
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s#%d: %v", e.File, e.Document, e.Err)
	}
	return fmt.Sprintf("%s#%d: line %d: %v", e.File, e.Document, e.Line, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Parse splits a stream into documents and reads each. The texts of the
// documents put together are the stream, byte for byte.
func Parse(file string, stream []byte) ([]*Document, error) {
	if !utf8.Valid(stream) {
		return nil, fmt.Errorf("%s: not UTF-8; save it as UTF-8", file)
	}
	var documents []*Document
	line, number := 0, 0
	for _, text := range split(stream) {
		d := &Document{File: file, Text: text, line: line}
		line += bytes.Count(text, []byte("\n"))
		if !isBlank(text) {
			number++
			d.Number = number
			if err := d.read(); err != nil {
				return nil, err
			}
		}
		documents = append(documents, d)
	}
	return documents, nil
}

// split cuts a stream before each separator line, after each end-of-document
// line, and between JSON objects that follow each other.
func split(stream []byte) [][]byte {
	var parts [][]byte
	start, end, ended := 0, 0, false
	for line := range bytes.Lines(stream) {
		if end > start && (ended || isSeparator(line)) {
			parts = append(parts, splitJSON(stream[start:end])...)
			start = end
		}
		end += len(line)
		ended = string(bytes.TrimRight(line, " \t\r\n")) == "..."
	}
	if end > start {
		parts = append(parts, splitJSON(stream[start:end])...)
	}
	return parts
}

// splitJSON cuts JSON objects that follow each other without a separator, which
// kubectl reads too; anything else stays whole.
func splitJSON(part []byte) [][]byte {
	decoder := json.NewDecoder(bytes.NewReader(part))
	var parts [][]byte
	start := int64(0)
	for {
		var object map[string]any
		err := decoder.Decode(&object)
		switch end := decoder.InputOffset(); {
		case err == nil:
			parts = append(parts, part[start:end])
			start = end
		case errors.Is(err, io.EOF) && len(parts) > 1:
			return append(parts[:len(parts)-1], part[start-int64(len(parts[len(parts)-1])):])
		default:
			return [][]byte{part}
		}
	}
}

func isSeparator(line []byte) bool {
	rest, found := bytes.CutPrefix(line, []byte("---"))
	return found && (len(rest) == 0 || strings.IndexByte(" \t\r\n", rest[0]) >= 0)
}

// isBlank tells whether a document has nothing but separators and comments.
func isBlank(text []byte) bool {
	for line := range bytes.Lines(bytes.TrimPrefix(text, []byte("\ufeff"))) {
		if isSeparator(line) {
			line = line[3:]
		}
		line = bytes.TrimSpace(line)
		if len(line) > 0 && line[0] != '#' && string(line) != "..." {
			return false
		}
	}
	return true
}

// read parses the text, as kubectl does and with positions.
func (d *Document) read() error {
	root, err := parseNode(d.Text)
	if err != nil {
		return d.syntaxError(err)
	}
	data, err := toJSON(d.Text)
	if err != nil {
		return d.syntaxError(err)
	}
	if err := json.Unmarshal(data, &d.object); err != nil {
		return d.errorAt(root, errors.New("not a Kubernetes object; a manifest is a mapping"))
	}
	d.root = root
	return nil
}

// parseNode returns the content of a text, which is one document, as a node.
func parseNode(text []byte) (*yaml.Node, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var document, next yaml.Node
	if err := decoder.Decode(&document); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if err := decoder.Decode(&next); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one document; separate documents with a line ---")
	}
	if len(document.Content) == 0 {
		return &document, nil
	}
	return document.Content[0], nil
}

func toJSON(text []byte) ([]byte, error) {
	return sigsyaml.YAMLToJSON(bytes.TrimPrefix(text, []byte("\ufeff")))
}

var lineInError = regexp.MustCompile(`(?:error converting YAML to JSON: )?yaml: (?:line (\d+): )?`)

// syntaxError counts the line that a YAML error names from the start of the file.
func (d *Document) syntaxError(err error) error {
	text := err.Error()
	e := &Error{File: d.File, Document: d.Number}
	if m := lineInError.FindStringSubmatch(text); m != nil {
		text = strings.TrimPrefix(text, m[0])
		if n, convErr := strconv.Atoi(m[1]); convErr == nil {
			e.Line = d.line + n
		}
	}
	if bytes.Contains(d.Text, []byte("{{")) {
		text += "; this looks like a template: render it first"
	}
	e.Err = errors.New(text)
	return e
}

func (d *Document) errorAt(node *yaml.Node, err error) error {
	e := &Error{File: d.File, Document: d.Number, Err: err}
	if node != nil && node.Line > 0 {
		e.Line = d.line + node.Line
	}
	return e
}

// JSON returns a document's text as indented JSON.
func JSON(text []byte) ([]byte, error) {
	data, err := toJSON(text)
	if err != nil {
		return nil, err
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, data, "", "  "); err != nil {
		return nil, err
	}
	indented.WriteByte('\n')
	return indented.Bytes(), nil
}
