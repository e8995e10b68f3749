package manifest_test

import (
	"encoding/json"
	"strings"
	"testing"

	jsonpatch "gomodules.xyz/jsonpatch/v2"
	"sigs.k8s.io/yaml"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/inject"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/manifest"
)

// applyAll injects into every template of a stream and returns the new stream.
func applyAll(stream string) (string, error) {
	documents, err := manifest.Parse("in.yaml", []byte(stream))
	if err != nil {
		return "", err
	}
	var out strings.Builder
	for _, d := range documents {
		templates, err := d.Templates()
		if err != nil {
			return "", err
		}
		text := d.Text
		for _, t := range templates {
			result := inject.Decide(inject.Input{Pod: t.Pod, Namespace: inject.Namespace{Labels: map[string]string{"s3-tls/inject": "true"}}, ClaimTemplates: t.ClaimTemplates})
			for i := range result.Patch {
				result.Patch[i].Path = t.Pointer(result.Patch[i].Path)
			}
			next := &manifest.Document{File: d.File, Number: d.Number, Text: text}
			if text, err = next.Apply(result.Patch); err != nil {
				return "", err
			}
		}
		out.Write(text)
	}
	return out.String(), nil
}

// seeds are layouts that people write; the fuzzer makes worse ones of them.
var seeds = []string{
	"apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - name: tempo\n    image: tempo\n",
	"apiVersion: v1\r\nkind: Pod\r\nspec:\r\n  containers:\r\n    - name: tempo\r\n      image: tempo\r\n      env:\r\n        - {name: A, value: b}\r\n",
	"--- # first\napiVersion: v1\nkind: Pod\nspec: {containers: [{name: tempo, image: tempo, env: [], volumeMounts: null}], volumes: [ ]}\n---\nother: true\n",
	"{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"spec\": {\"containers\": [{\"name\": \"tempo\", \"image\": \"tempo\"}]}}",
	"apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - image: tempo\n    name: tempo\n    args:\n    - |+\n      # text\n\n  volumes:\n\n# end",
	"apiVersion: v1\nkind: Pod\nspec: &s\n  containers: &c\n  - &t\n    name: tempo\n    image: tempo\n    env: &e\n    - name: X\n      value: 'it''s'\n  initContainers:\n  - <<: *t\n    name: i\n",
	"apiVersion: v1\nkind: Pod\nmetadata: {annotations: {a: \"b # c\", d: 'e}'}} # f\nspec: {containers: [ # g ]\n  {name: tempo, image: tempo, env: [{name: A, value: \"]\"},] # h\n  }, ]}\n",
	"apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n  spec:\n    containers: [{name: tempo, image: tempo}]\n- apiVersion: apps/v1\n  kind: Deployment\n  spec:\n    template:\n      spec:\n        containers:\n        - name: loki\n          image: loki\n",
	"\ufeffapiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - name: \"tempo\"\n    \"image\": tempo\n    \"env\":   # c\n    \"volumeMounts\": [  ]   # d\n",
	"apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  -\n    name: tempo\n    image: tempo\n    command: [\n      tempo\n    ]\n  volumes:\n  - name: v\n    emptyDir: {}\n...\n",
}

func TestApplyKeepsEverySeed(t *testing.T) {
	for _, seed := range seeds {
		out, err := applyAll(seed)
		if err != nil {
			t.Errorf("%v in\n%s", err, seed)
			continue
		}
		if !strings.Contains(out, "s3-tls-cert") {
			t.Errorf("nothing was added to\n%s", out)
		}
		for _, comment := range []string{"# first", "# text", "# end", "# c", "# d", "# f", "# g ]", "# h"} {
			if strings.Contains(seed, comment) && !strings.Contains(out, comment) {
				t.Errorf("comment %q is lost in\n%s", comment, out)
			}
		}
		if strings.Contains(seed, "\r\n") != strings.Contains(out, "\r\n") || strings.Count(out, "\r\n") != 0 && strings.Count(out, "\n") != strings.Count(out, "\r\n") {
			t.Errorf("line endings are mixed in\n%q", out)
		}
	}
}

// The documents of a stream put together are the stream.
func TestParseLosesNothing(t *testing.T) {
	for _, stream := range append(seeds, "", "\n", "---", "# only a comment\n---\n---\n", "a: b\n---\n---\nc: d") {
		documents, err := manifest.Parse("in.yaml", []byte(stream))
		if err != nil {
			t.Errorf("%q: %v", stream, err)
			continue
		}
		var joined strings.Builder
		number := 0
		for _, d := range documents {
			joined.Write(d.Text)
			if d.Number > 0 {
				number++
				if d.Number != number {
					t.Errorf("%q: document %d is numbered %d", stream, number, d.Number)
				}
			}
		}
		if joined.String() != stream {
			t.Errorf("%q became %q", stream, joined.String())
		}
	}
}

func TestParseRefusesWhatIsNotUTF8(t *testing.T) {
	_, err := manifest.Parse("utf16.yaml", []byte("\xff\xfea\x00:\x00 \x00b\x00"))
	if err == nil || err.Error() != "utf16.yaml: not UTF-8; save it as UTF-8" {
		t.Error(err)
	}
}

// FuzzApply edits mutated manifests: it may refuse one with an error, it may not
// panic, and what it prints reads as the input with the patch applied, which
// Apply checks itself; here it must still be YAML and hold every document.
func FuzzApply(f *testing.F) {
	for _, seed := range seeds {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, stream string) {
		out, err := applyAll(stream)
		if err != nil {
			return
		}
		before, err := manifest.Parse("before", []byte(stream))
		if err != nil {
			t.Fatal(err)
		}
		after, err := manifest.Parse("after", []byte(out))
		if err != nil {
			t.Fatalf("%v\nbefore %q\nafter %q", err, stream, out)
		}
		if len(before) != len(after) {
			t.Fatalf("%d documents became %d\nbefore %q\nafter %q", len(before), len(after), stream, out)
		}
	})
}

func TestJSONIsIndented(t *testing.T) {
	got, err := manifest.JSON([]byte("b: [1]\na: {c: d}\n"))
	if err != nil {
		t.Fatal(err)
	}
	var value any
	if err := json.Unmarshal(got, &value); err != nil {
		t.Fatal(err)
	}
	want, err := yaml.YAMLToJSON([]byte("a: {c: d}\nb: [1]\n"))
	if err != nil {
		t.Fatal(err)
	}
	if !json.Valid(want) || string(got) != "{\n  \"a\": {\n    \"c\": \"d\"\n  },\n  \"b\": [\n    1\n  ]\n}\n" {
		t.Errorf("%s", got)
	}
}

// A text takes the place of another one, and nothing around it changes.
func TestApplyReplacesATextOnOneLine(t *testing.T) {
	for before, want := range map[string]string{
		"a: old":                "a: new",
		"a: old  # kept\nb: c":  "a: new  # kept\nb: c",
		"a: \"ol\\\"d\" # kept": "a: new # kept",
		"a: 'old'\r\n":          "a: new\r\n",
		"{a: old, b: c} # kept": "{a: new, b: c} # kept",
		"{\"a\": \"old\"}":      "{\"a\": \"new\"}",
		"x: &x old\na: *x":      "x: &x old\na: new",
		"a: >\n  old\n":         "",
		"a: 'o\n  ld'":          "",
	} {
		d := &manifest.Document{File: "x.yaml", Number: 1, Text: []byte(before)}
		got, err := d.Apply([]jsonpatch.Operation{jsonpatch.NewOperation("add", "/a", "new")})
		if string(got) != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v, want %q", before, got, err, want)
		}
	}
}
