package webhook

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// parser reads JSON once, from front to end, and keeps what it is asked for. It is strict where
// decoders differ: a name that is read and given twice in an object, invalid UTF-8 and invalid JSON are
// errors, and names that differ in case are different names. null counts as absent, as it does for the
// API server.
//
// After an error it reads nothing more; err keeps the first one.
type parser struct {
	decoder *jsontext.Decoder
	source  bytes.Buffer
	// text is the whole source. Nothing that is kept points into it.
	text []byte
	// seen are the names that were read of the objects which are open, the innermost last, as they
	// stand in the text.
	seen [][]byte
	// kept are the strings that are kept, one behind the other: an allocation of many.
	kept strings.Builder
	err  error
}

func newParser() *parser { return &parser{decoder: &jsontext.Decoder{}} }

// reset begins with another text.
func (p *parser) reset(text []byte) {
	p.source = *bytes.NewBuffer(text)
	p.decoder.Reset(&p.source, jsontext.AllowDuplicateNames(true)) // those that matter are found by object
	p.text, p.seen, p.kept, p.err = text, p.seen[:0], strings.Builder{}, nil
}

// typeError is a value of another kind than is wanted.
type typeError struct {
	field string // its dotted path
	is    string
}

func (e *typeError) Error() string { return fmt.Sprintf("field %q is a JSON %s", e.field, e.is) }

// fail notes that the text is no JSON. No error quotes it.
func (p *parser) fail() {
	if p.err != nil {
		return
	}
	p.err = errors.New("not valid JSON")
}

// wrong notes that the value which comes next is of another kind than is wanted.
func (p *parser) wrong(kind jsontext.Kind) {
	names := map[jsontext.Kind]string{'{': "object", '[': "array", '"': "string", '0': "number", 't': "bool", 'f': "bool"}
	if p.skip(); p.err == nil {
		p.err = &typeError{field: dotted(p.decoder.StackPointer()), is: names[kind]}
	}
}

func dotted(pointer jsontext.Pointer) string {
	var steps []string
	for step := range pointer.Tokens() {
		steps = append(steps, step)
	}
	return strings.Join(steps, ".")
}

// next tells whether a value of a kind comes next. It passes over null, and over what is of another
// kind, which is an error.
func (p *parser) next(wanted jsontext.Kind) bool {
	if p.err != nil {
		return false
	}
	kind := p.decoder.PeekKind()
	if kind == wanted {
		return true
	}
	if kind == jsontext.KindNull || kind == jsontext.KindInvalid {
		p.skip() // of invalid JSON that is the error
	} else {
		p.wrong(kind)
	}
	return false
}

// skip passes over a value. The decoder's own SkipValue goes from token to token, which takes longer.
func (p *parser) skip() {
	if p.err != nil {
		return
	}
	if _, err := p.decoder.ReadValue(); err != nil {
		p.fail()
	}
}

// token reads a bracket.
func (p *parser) token() {
	if _, err := p.decoder.ReadToken(); err != nil {
		p.fail()
	}
}

// object reads an object: known is asked to read the value of each name, and returns false for one
// that nobody reads, which may be there twice. It tells whether there is an object.
func (p *parser) object(known func(name []byte) bool) bool {
	outer := len(p.seen)
	found := p.names(func(name []byte) {
		switch {
		case slices.ContainsFunc(p.seen[outer:], func(before []byte) bool { return bytes.Equal(before, name) }):
			p.twice(name)
		case known(name):
			p.seen = append(p.seen, name)
		default:
			p.skip()
		}
	})
	p.seen = p.seen[:outer]
	return found
}

// names reads an object; value is asked to read the value of each name.
func (p *parser) names(value func(name []byte)) bool {
	if !p.next(jsontext.KindBeginObject) {
		return false
	}
	for p.token(); p.err == nil && p.decoder.PeekKind() == jsontext.KindString; {
		if name := p.name(); p.err == nil {
			value(name)
		}
	}
	if p.err == nil {
		p.token()
	}
	return true
}

// twice notes that a name is given twice.
func (p *parser) twice(name []byte) {
	if p.err == nil {
		p.err = fmt.Errorf("duplicate field %q", dotted(p.decoder.StackPointer().Parent().AppendToken(string(name))))
	}
}

// array reads an array; element is asked to read each of its values. It tells whether there is one.
func (p *parser) array(element func()) bool {
	if !p.next(jsontext.KindBeginArray) {
		return false
	}
	for p.token(); p.err == nil; element() {
		if kind := p.decoder.PeekKind(); kind == jsontext.KindEndArray || kind == jsontext.KindInvalid {
			p.token() // of invalid JSON that is the error
			break
		}
	}
	return true
}

// name reads a name of an object, or a string. It is valid until the parser begins anew.
func (p *parser) name() []byte {
	raw, err := p.decoder.ReadValue()
	if err != nil {
		p.fail()
		return nil
	}
	if bytes.IndexByte(raw, '\\') < 0 {
		end := int(p.decoder.InputOffset()) - 1
		return p.text[end-len(raw)+2 : end]
	}
	plain, err := jsontext.AppendUnquote(nil, raw)
	if err != nil {
		p.fail()
	}
	return plain
}

// string reads a string.
func (p *parser) string() string {
	if !p.next(jsontext.KindString) {
		return ""
	}
	return p.keep(p.name())
}

// chunk is how many bytes of strings are allocated at once.
const chunk = 2 << 10

// keep returns a text as a string.
func (p *parser) keep(text []byte) string {
	if p.kept.Cap()-p.kept.Len() < len(text) {
		p.kept = strings.Builder{}
		p.kept.Grow(max(chunk, len(text)))
	}
	start := p.kept.Len()
	p.kept.Write(text)
	return p.kept.String()[start:]
}

// flag reads a bool.
func (p *parser) flag() bool {
	if p.err != nil {
		return false
	}
	if kind := p.decoder.PeekKind(); kind == jsontext.KindTrue || kind == jsontext.KindFalse {
		p.token()
		return kind == jsontext.KindTrue
	}
	p.next(jsontext.KindTrue) // it is none: null, or an error
	return false
}

// optionalFlag reads a bool that may be absent.
func (p *parser) optionalFlag() *bool {
	if p.err != nil {
		return nil
	}
	if p.decoder.PeekKind() == jsontext.KindNull {
		p.skip()
		return nil
	}
	value := p.flag()
	return &value
}

// optionalString reads a string that may be absent.
func (p *parser) optionalString() *string {
	if !p.next(jsontext.KindString) {
		return nil
	}
	value := p.keep(p.name())
	return &value
}

// strings reads an array of strings.
func (p *parser) strings() []string { return list(p, 16, p.string) }

// list reads an array; size is how many elements there often are.
func list[T any](p *parser, size int, element func() T) (all []T) {
	p.array(func() {
		if all == nil {
			all = make([]T, 0, size)
		}
		all = append(all, element())
	})
	return all
}

// stringMap reads an object of strings.
func (p *parser) stringMap() map[string]string {
	all := map[string]string{}
	if !p.names(func(name []byte) {
		key := p.keep(name)
		if _, there := all[key]; there {
			p.twice(name)
		}
		all[key] = p.string()
	}) {
		return nil
	}
	return all
}

// end checks that nothing follows.
func (p *parser) end() {
	if p.err != nil {
		return
	}
	if p.decoder.PeekKind() != jsontext.KindInvalid || len(bytes.TrimSpace(p.decoder.UnreadBuffer())) > 0 || p.source.Len() > 0 && len(bytes.TrimSpace(p.source.Bytes())) > 0 {
		p.err = errors.New("not valid JSON")
	}
}
