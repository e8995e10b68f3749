package webhook

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	kjson "sigs.k8s.io/json"
)

// What is read of a review, for the API server's own decoder. Names, types and null mean here what
// they mean for the server.
type (
	expectedReview struct {
		APIVersion string           `json:"apiVersion"`
		Kind       string           `json:"kind"`
		Request    *expectedRequest `json:"request,omitempty"`
	}
	expectedRequest struct {
		UID  string `json:"uid,omitempty"`
		Kind struct {
			Group   string `json:"group"`
			Version string `json:"version"`
			Kind    string `json:"kind"`
		} `json:"kind"`
		SubResource string       `json:"subResource,omitempty"`
		Namespace   string       `json:"namespace,omitempty"`
		Operation   string       `json:"operation,omitempty"`
		DryRun      bool         `json:"dryRun,omitempty"`
		Object      *expectedPod `json:"object,omitempty"`
	}
	expectedPod struct {
		Metadata *expectedMetadata `json:"metadata,omitempty"`
		Spec     struct {
			OS *struct {
				Name string `json:"name"`
			} `json:"os,omitempty"`
			NodeSelector   map[string]string   `json:"nodeSelector,omitempty"`
			InitContainers []expectedContainer `json:"initContainers,omitempty"`
			Containers     []expectedContainer `json:"containers,omitempty"`
			Volumes        []expectedVolume    `json:"volumes,omitempty"`
		} `json:"spec"`
	}
	expectedMetadata struct {
		Name            string            `json:"name,omitempty"`
		GenerateName    string            `json:"generateName,omitempty"`
		Labels          map[string]string `json:"labels,omitempty"`
		Annotations     map[string]string `json:"annotations,omitempty"`
		OwnerReferences []struct {
			APIVersion string `json:"apiVersion"`
			Kind       string `json:"kind"`
			Name       string `json:"name"`
			UID        string `json:"uid"`
			Controller *bool  `json:"controller,omitempty"`
		} `json:"ownerReferences,omitempty"`
	}
	expectedContainer struct {
		Name    string   `json:"name"`
		Image   string   `json:"image,omitempty"`
		Command []string `json:"command,omitempty"`
		Args    []string `json:"args,omitempty"`
		Env     []struct {
			Name      string    `json:"name"`
			Value     string    `json:"value,omitempty"`
			ValueFrom *struct{} `json:"valueFrom,omitempty"`
		} `json:"env,omitempty"`
		VolumeMounts []struct {
			Name        string `json:"name"`
			MountPath   string `json:"mountPath"`
			SubPath     string `json:"subPath,omitempty"`
			SubPathExpr string `json:"subPathExpr,omitempty"`
		} `json:"volumeMounts,omitempty"`
		VolumeDevices []struct {
			Name       string `json:"name"`
			DevicePath string `json:"devicePath"`
		} `json:"volumeDevices,omitempty"`
	}
	expectedVolume struct {
		Name   string `json:"name"`
		Secret *struct {
			SecretName string         `json:"secretName,omitempty"`
			Items      []expectedItem `json:"items,omitempty"`
			Optional   *bool          `json:"optional,omitempty"`
		} `json:"secret,omitempty"`
		ConfigMap *struct {
			Name     string         `json:"name,omitempty"`
			Items    []expectedItem `json:"items,omitempty"`
			Optional *bool          `json:"optional,omitempty"`
		} `json:"configMap,omitempty"`
		Projected *struct {
			Sources []struct {
				ClusterTrustBundle *struct {
					Name     *string `json:"name,omitempty"`
					Path     string  `json:"path"`
					Optional *bool   `json:"optional,omitempty"`
				} `json:"clusterTrustBundle,omitempty"`
			} `json:"sources"`
		} `json:"projected,omitempty"`
	}
	expectedItem struct {
		Key  string `json:"key"`
		Path string `json:"path"`
	}
)

// expect reads a review as the API server does; strict says what it finds that is given twice.
func expect(body []byte) (rev expectedReview, strict []error, err error) {
	strict, err = kjson.UnmarshalStrict(body, &rev, kjson.DisallowDuplicateFields)
	return rev, strict, err
}

// plain is a value as encoding/json reads it again: without the difference of empty and missing lists.
func plain(t *testing.T, value any) any {
	t.Helper()
	data, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	var again any
	if err := json.Unmarshal(data, &again); err != nil {
		t.Fatal(err)
	}
	return withoutEmpty(again)
}

func withoutEmpty(value any) any {
	switch value := value.(type) {
	case map[string]any:
		for key, inner := range value {
			if inner = withoutEmpty(inner); inner == nil || key == "sources" && len(inner.([]any)) == 0 { //nolint:forcetypeassert // it is a list
				delete(value, key)
			}
		}
	case []any:
		for i := range value {
			value[i] = withoutEmpty(value[i])
		}
	}
	return value
}

// compare holds what is read against what the API server reads.
func compare(t *testing.T, body []byte) {
	t.Helper()
	p := newParser()
	p.reset(body)
	got := p.review()
	want, strict, err := expect(body)
	switch {
	case p.err != nil && err == nil && len(strict) == 0 && utf8.Valid(body) && !strings.Contains(string(body), `\u`):
		t.Fatalf("it is refused (%v), and the API server reads it: %q", p.err, body) // with \u it may be half a surrogate
	case p.err != nil:
		return
	case err != nil || len(strict) > 0:
		t.Fatalf("it is read, and the API server refuses it (%v, %v): %q", err, strict, body)
	}
	var request any
	if r := got.Request; r != nil {
		request = map[string]any{
			"uid": r.UID, "kind": map[string]any{"group": r.Kind.Group, "version": r.Kind.Version, "kind": r.Kind.Kind},
			"subResource": r.SubResource, "namespace": r.Namespace, "operation": r.Operation, "dryRun": r.DryRun, "object": r.Object,
		}
	}
	is := map[string]any{"apiVersion": got.APIVersion, "kind": got.Kind, "request": request}
	drop := cmp.FilterPath(func(p cmp.Path) bool {
		at, ok := p.Last().(cmp.MapIndex)
		return ok && (at.Key().String() == "uid" || at.Key().String() == "subResource" || at.Key().String() == "namespace" || at.Key().String() == "operation" || at.Key().String() == "dryRun")
	}, cmp.Comparer(func(a, b any) bool { return orZero(a) == orZero(b) }))
	if diff := cmp.Diff(plain(t, want), plain(t, is), drop, cmp.FilterPath(isAbsentZero, cmp.Ignore())); diff != "" {
		t.Fatalf("what is read (-API server +webhook) of %q:\n%s", body, diff)
	}
}

func orZero(value any) any {
	if value == nil || value == false {
		return ""
	}
	return value
}

// isAbsentZero passes over members that one side leaves out because they are zero.
func isAbsentZero(p cmp.Path) bool {
	at, ok := p.Last().(cmp.MapIndex)
	if !ok {
		return false
	}
	a, b := at.Values()
	zero := func(v interface {
		IsValid() bool
		Interface() any
	},
	) bool {
		return !v.IsValid() || v.Interface() == "" || v.Interface() == false
	}
	return (!a.IsValid() || !b.IsValid()) && zero(a) && zero(b)
}

// oddReviews are where decoders differ.
var oddReviews = []string{
	`{}`, `null`, `[]`, `{"request":null}`, `{"request":{"object":null}}`, `{"request":{"object":{}}}`, `{"request":{"object":{"metadata":null,"spec":null}}}`,
	`{"kind":"a","kind":"b"}`, `{"kind":"a","Kind":"b"}`, `{"KIND":"a"}`, `{"k\u0069nd":"AdmissionReview"}`, `{"kind":"a","k\u0069nd":"b"}`,
	`{"x":1,"x":2}`, `{"kind":"\ud800"}`, "{\"kind\":\"\xff\"}", "{\"\xff\":1}", `{"kind":"\u0000"}`, `{"kind":5}`, `{"kind":{}}`, `{"request":"x"}`, `{"request":[]}`,
	`{"request":{"dryRun":"true"}}`, `{"request":{"dryRun":null}}`, `{"request":{"dryRun":1}}`, `{"x":1e99999999999999999999}`, `{"x":01}`, `{"x":-}`, `{"x":+1}`, `{"x":.5}`, `{"x":nul}`,
	`{"kind":"a"} {}`, `{"kind":"a"}x`, "{\"kind\":\"a\"}\n\t ", "\ufeff{}", `{"kind":"a",}`, `{"kind" "a"}`, `{'kind':'a'}`, `{kind:"a"}`, `{"x":[1,2,]}`, `{"x":[1 2]}`, `{"kind":"a`, `{"kind":"a" // b
}`, "{\"kind\":\"a\nb\"}", `{"request":{"object":{"metadata":{"labels":{"a":"b","a":"c"}}}}}`, `{"request":{"object":{"metadata":{"annotations":{"a":null,"b":5}}}}}`,
	`{"request":{"object":{"metadata":{"annotations":{"a":null}}}}}`, `{"request":{"object":{"spec":{"containers":[null,{"name":null,"args":[null,"a"],"env":[null,{"valueFrom":null},{"valueFrom":{}},{"valueFrom":{"x":1,"x":2}}]}]}}}}`,
	`{"request":{"object":{"spec":{"containers":{}}}}}`, `{"request":{"object":{"spec":{"containers":[5]}}}}`, `{"request":{"object":{"spec":{"containers":[[]]}}}}`,
	`{"request":{"object":{"spec":{"volumes":[{"secret":{"optional":null,"items":null}},{"configMap":{"optional":false,"items":[{}]}},{"projected":{"sources":null}},{"projected":{"sources":[null,{"clusterTrustBundle":{"name":null}},{"clusterTrustBundle":{"name":"","optional":true}}]}}]}}}}`,
	`{"request":{"object":{"spec":{"os":{"name":"linux","name":"windows"}}}}}`, `{"request":{"object":{"spec":{"os":{"Name":"windows"}}}}}`,
	`{"request":{"object":{"metadata":{"ownerReferences":[{"controller":true},{"controller":null}]}}}}`,
}

// What is read of a review is what the API server meant; where that is not sure, it is refused.
func TestDecodeReadsWhatTheAPIServerReads(t *testing.T) {
	for _, body := range oddReviews {
		compare(t, []byte(body))
	}
	depth := 9000
	compare(t, []byte(`{"x":`+strings.Repeat("[", depth)+strings.Repeat("]", depth)+`,"kind":"a"}`))
	compare(t, []byte(`{"x":`+strings.Repeat(`{"a":`, 20000)+`1`+strings.Repeat("}", 20000)+`}`))
	for _, name := range []string{"small", "typical", "large"} {
		review, err := os.ReadFile(filepath.Join(reviews, name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		compare(t, review)
	}
}

func FuzzDecode(f *testing.F) {
	for _, body := range oddReviews {
		f.Add([]byte(body))
	}
	for _, name := range []string{"small", "typical"} {
		review, err := os.ReadFile(filepath.Join(reviews, name+".json"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(review)
	}
	f.Fuzz(func(t *testing.T, body []byte) { compare(t, body) })
}
