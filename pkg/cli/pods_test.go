package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/api/v1alpha1"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/cli"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/inject"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/inject/injecttest"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/manifest"
	"github.com/s3-tls-injector/s3-tls-injector/webhook"
)

// The manifests of testdata/pods and the outcome that each must have; the
// README there tells the format.
const podsDir = "../inject/testdata/pods"

const defaultPath = "/etc/ssl/certs/s3-ca.crt"

type podsCase struct {
	Why  string   `json:"why"`
	Args []string `json:"args"`
	Exit int      `json:"exit"`
	Want []want   `json:"want"`
}

type want struct {
	Document      int                          `json:"document"`
	Kind          string                       `json:"kind"`
	Name          string                       `json:"name"`
	Namespace     string                       `json:"namespace"`
	Decision      string                       `json:"decision"`
	Reason        string                       `json:"reason"`
	Source        string                       `json:"source"`
	Containers    []string                     `json:"containers"`
	Mount         map[string]*string           `json:"mount"`
	Env           map[string]map[string]string `json:"env"`
	Volume        *wantVolume                  `json:"volume"`
	Warnings      []any                        `json:"warnings"`
	Refused       []any                        `json:"refused"`
	WarningsCount *int                         `json:"warnings_count"`
}

type wantVolume struct {
	Name               string `json:"name"`
	Secret             string `json:"secret"`
	ConfigMap          string `json:"configMap"`
	ClusterTrustBundle string `json:"clusterTrustBundle"`
	Key                string `json:"key"`
	Added              *bool  `json:"added"`
}

// entry is what inject -o patch prints for a template.
type entry struct {
	File, Kind, Namespace, Name, Decision, Reason, Source string

	Document   int
	Containers []string
	Warnings   []string
	Patch      []struct {
		Op    string          `json:"op"`
		Path  string          `json:"path"`
		Value json.RawMessage `json:"value"`
	}
}

func run(stdin string, args ...string) (status int, stdout, stderr string) {
	var out, errOut bytes.Buffer
	status = cli.Run(context.Background(), args, cli.Streams{
		In: strings.NewReader(stdin), Out: &out, Err: &errOut,
		Now: func() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) },
	})
	return status, out.String(), errOut.String()
}

func TestPods(t *testing.T) {
	dirs, err := filepath.Glob(podsDir + "/*/case.yaml")
	if err != nil || len(dirs) == 0 {
		t.Fatalf("%d cases, %v", len(dirs), err)
	}
	for _, file := range dirs {
		dir := filepath.Dir(file)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			var c podsCase
			if err := yaml.UnmarshalStrict(readFile(t, file), &c); err != nil {
				t.Fatal(err)
			}
			args := slices.Clone(c.Args)
			if policy := filepath.Join(dir, "policy.yaml"); fileExists(policy) {
				args = append(args, "--policy", policy)
			}
			entries := c.check(t, dir, args)
			checkYAML(t, dir, args, c.Exit)
			checkWebhook(t, dir, c.Args, entries)
		})
	}
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func fileExists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// check compares exit status and entries of -o patch.
func (c *podsCase) check(t *testing.T, dir string, args []string) []entry {
	t.Helper()
	status, stdout, stderr := run("", append([]string{"inject", "-o", "patch", "-f", filepath.Join(dir, "in.yaml")}, args...)...)
	if status != c.Exit {
		t.Errorf("%s: exit status %d, want %d; stderr %s", c.Why, status, c.Exit, stderr)
	}
	var entries []entry
	if err := json.Unmarshal([]byte(stdout), &entries); err != nil {
		t.Fatal(err)
	}
	if len(entries) != len(c.Want) {
		t.Fatalf("%d entries, want %d", len(entries), len(c.Want))
	}
	for i, w := range c.Want {
		t.Run(w.Name, func(t *testing.T) { w.compare(t, entries[i]) })
	}
	return entries
}

func (w *want) compare(t *testing.T, e entry) {
	t.Helper()
	for field, pair := range map[string][2]string{
		"kind": {w.Kind, e.Kind}, "name": {w.Name, e.Name}, "namespace": {w.Namespace, e.Namespace},
		"decision": {w.Decision, e.Decision}, "reason": {w.Reason, e.Reason}, "source": {w.Source, e.Source},
	} {
		if pair[0] != "" && pair[0] != pair[1] {
			t.Errorf("%s is %q, want %q", field, pair[1], pair[0])
		}
	}
	if w.Document != e.Document {
		t.Errorf("document %d, want %d", e.Document, w.Document)
	}
	if w.Containers != nil {
		slices.Sort(e.Containers)
		slices.Sort(w.Containers)
		if diff := cmp.Diff(w.Containers, e.Containers); diff != "" {
			t.Error("containers", diff)
		}
	}
	if w.WarningsCount != nil && len(e.Warnings) != *w.WarningsCount {
		t.Errorf("warnings %q, want %d", e.Warnings, *w.WarningsCount)
	}
	tells(t, strings.Join(e.Warnings, "\n"), w.Warnings)
	tells(t, e.Reason, w.Refused)
	if e.Decision == "injected" {
		w.compareAdditions(t, e)
	}
}

// tells checks that each text is told, capitals or not; of an inner list one is enough.
func tells(t *testing.T, told string, texts []any) {
	t.Helper()
	for _, text := range texts {
		options, ok := text.([]any)
		if !ok {
			options = []any{text}
		}
		if !slices.ContainsFunc(options, func(o any) bool {
			return strings.Contains(strings.ToLower(told), strings.ToLower(fmt.Sprint(o)))
		}) {
			t.Errorf("%q does not tell %v", told, text)
		}
	}
}

// additions are what a patch adds, read off its operations.
type additions struct {
	volumes []corev1.Volume
	mounts  map[string]string            // by pointer of the container
	env     map[string]map[string]string // likewise
}

func (e *entry) additions(t *testing.T) additions {
	t.Helper()
	a := additions{mounts: map[string]string{}, env: map[string]map[string]string{}}
	for _, op := range e.Patch {
		path, whole := strings.CutSuffix(op.Path, "/-")
		value := op.Value
		if whole {
			value = slices.Concat([]byte("["), value, []byte("]"))
		}
		container := path[:strings.LastIndexByte(path, '/')]
		switch path[strings.LastIndexByte(path, '/')+1:] {
		case "volumes":
			unmarshal(t, value, &a.volumes)
		case "volumeMounts":
			var mounts []corev1.VolumeMount
			unmarshal(t, value, &mounts)
			for _, m := range mounts {
				a.mounts[container] = m.MountPath
			}
		case "env":
			var env []corev1.EnvVar
			unmarshal(t, value, &env)
			for _, v := range env {
				if a.env[container] == nil {
					a.env[container] = map[string]string{}
				}
				a.env[container][v.Name] = v.Value
			}
		}
	}
	return a
}

func unmarshal(t *testing.T, data []byte, into any) {
	t.Helper()
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatalf("%s: %v", data, err)
	}
}

func (w *want) compareAdditions(t *testing.T, e entry) {
	t.Helper()
	a := e.additions(t)
	names := containerNames(t, e)
	mounts, env := map[string]string{}, map[string]map[string]string{}
	for pointer, path := range a.mounts {
		mounts[names[pointer]] = path
	}
	for pointer, variables := range a.env {
		env[names[pointer]] = variables
	}
	wantMounts, wantEnv := map[string]string{}, map[string]map[string]string{}
	for _, name := range w.Containers {
		wantMounts[name] = defaultPath
	}
	for name, path := range w.Mount {
		delete(wantMounts, name)
		if path != nil {
			wantMounts[name] = *path
		}
	}
	for name, path := range wantMounts {
		wantEnv[name] = map[string]string{"SSL_CERT_FILE": path}
	}
	for name, variables := range w.Env {
		delete(wantEnv, name)
		if len(variables) > 0 {
			wantEnv[name] = variables
		}
	}
	if diff := cmp.Diff(wantMounts, mounts); diff != "" {
		t.Error("mounts", diff)
	}
	if diff := cmp.Diff(wantEnv, env); diff != "" {
		t.Error("variables", diff)
	}
	w.Volume.compare(t, a.volumes)
}

func (w *wantVolume) compare(t *testing.T, added []corev1.Volume) {
	t.Helper()
	if w == nil {
		w = &wantVolume{}
	}
	if w.Added != nil && !*w.Added {
		if len(added) > 0 {
			t.Errorf("volumes were added: %+v", added)
		}
		return
	}
	if len(added) != 1 {
		t.Fatalf("%d volumes were added", len(added))
	}
	key := "ca.crt"
	if w.Key != "" {
		key = w.Key
	}
	wanted := corev1.Volume{Name: "s3-tls-cert"}
	if w.Name != "" {
		wanted.Name = w.Name
	}
	items := []corev1.KeyToPath{{Key: key, Path: "s3-ca.crt"}}
	switch {
	case w.ConfigMap != "":
		wanted.ConfigMap = &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: w.ConfigMap}, Items: items}
	case w.ClusterTrustBundle != "":
		bundle := &corev1.ClusterTrustBundleProjection{Name: &w.ClusterTrustBundle, Path: "s3-ca.crt"}
		wanted.Projected = &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{ClusterTrustBundle: bundle}}}
	case w.Secret != "":
		wanted.Secret = &corev1.SecretVolumeSource{SecretName: w.Secret, Items: items}
	default:
		wanted.Secret = &corev1.SecretVolumeSource{SecretName: "s3-tls-cert", Items: items}
	}
	if diff := cmp.Diff(wanted, added[0]); diff != "" {
		t.Error("volume", diff)
	}
}

// templates returns the pod templates of a file, in order.
func templates(t *testing.T, file string) []*manifest.Template {
	t.Helper()
	documents, err := manifest.Parse(file, readFile(t, file))
	if err != nil {
		t.Fatal(err)
	}
	var all []*manifest.Template
	for _, d := range documents {
		found, err := d.Templates()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found...)
	}
	return all
}

// containerNames maps the pointers of an entry's containers to their names.
func containerNames(t *testing.T, e entry) map[string]string {
	t.Helper()
	names := map[string]string{}
	for _, template := range templates(t, e.File) {
		if template.Document.Number != e.Document || template.Name != e.Name {
			continue
		}
		for i, c := range template.Pod.Spec.Containers {
			names[template.Pointer(fmt.Sprintf("/spec/containers/%d", i))] = c.Name
		}
		for i, c := range template.Pod.Spec.InitContainers {
			names[template.Pointer(fmt.Sprintf("/spec/initContainers/%d", i))] = c.Name
		}
	}
	return names
}

// checkYAML checks that -o yaml prints the input with the patches applied and
// every comment kept, and that a second run over it adds and warns nothing.
func checkYAML(t *testing.T, dir string, args []string, exit int) {
	t.Helper()
	in := readFile(t, filepath.Join(dir, "in.yaml"))
	status, stdout, _ := run(string(in), append([]string{"inject", "-f", "-"}, args...)...)
	if status != exit {
		t.Errorf("-o yaml: exit status %d, want %d", status, exit)
	}
	if exit != 0 {
		if stdout != "" {
			t.Errorf("a refused manifest, and standard output holds %q", stdout)
		}
		return
	}
	for line := range strings.SplitSeq(string(in), "\n") {
		if _, comment, found := strings.Cut(line, "# "); found && !strings.Contains(stdout, "# "+comment) {
			t.Errorf("comment %q is lost", comment)
		}
	}
	before, err := manifest.Parse("-", in)
	if err != nil {
		t.Fatal(err)
	}
	after, err := manifest.Parse("-", []byte(stdout))
	if err != nil {
		t.Fatal(err)
	}
	for i := range before {
		compareDocument(t, dir, args, before[i], after[i])
	}
	checkSecond(t, stdout, args)
}

// compareDocument checks one document against the patches that -o patch prints for it.
func compareDocument(t *testing.T, dir string, args []string, before, after *manifest.Document) {
	t.Helper()
	_, stdout, _ := run("", append([]string{"inject", "-o", "patch", "-f", filepath.Join(dir, "in.yaml")}, args...)...)
	var entries []struct {
		Document int
		Patch    json.RawMessage
	}
	unmarshal(t, []byte(stdout), &entries)
	data, err := yaml.YAMLToJSON(before.Text)
	if err != nil {
		t.Fatal(err)
	}
	changed := false
	for _, e := range entries {
		if e.Document == before.Number && string(e.Patch) != "[]" {
			changed = true
			data = applyPatch(t, data, e.Patch)
		}
	}
	if !changed && !bytes.Equal(before.Text, after.Text) {
		t.Errorf("document %d has changed", before.Number)
	}
	got, err := yaml.YAMLToJSON(after.Text)
	if err != nil {
		t.Fatal(err)
	}
	var wantValue, gotValue any
	unmarshal(t, data, &wantValue)
	unmarshal(t, got, &gotValue)
	if !reflect.DeepEqual(wantValue, gotValue) {
		t.Errorf("document %d: %s", before.Number, cmp.Diff(wantValue, gotValue))
	}
}

func checkSecond(t *testing.T, input string, args []string) {
	t.Helper()
	_, stdout, _ := run(input, append([]string{"inject", "-f", "-", "-o", "patch"}, args...)...)
	var entries []entry
	unmarshal(t, []byte(stdout), &entries)
	for _, e := range entries {
		if len(e.Patch) > 0 {
			t.Errorf("second run of %s adds %v", e.Name, e.Patch)
		}
		if e.Reason == string(inject.AlreadyInjected) && len(e.Warnings) > 0 {
			t.Errorf("second run of %s warns %q", e.Name, e.Warnings)
		}
	}
}

// checkWebhook sends each template as the pod that its workload would make
// through the webhook's handler: the patch is the tool's, byte for byte.
func checkWebhook(t *testing.T, dir string, args []string, entries []entry) {
	t.Helper()
	lookup := &fixedNamespaces{known: map[string]inject.Namespace{}}
	for i := 0; i+1 < len(args); i += 2 {
		key, value, _ := strings.Cut(args[i+1], "=")
		switch args[i] {
		case "--namespace-label":
			lookup.labels = map[string]string{key: value}
		case "--namespace-annotation":
			lookup.annotations = map[string]string{key: value}
		default:
			t.Fatalf("argument %s is not known here", args[i])
		}
	}
	documents, err := manifest.Parse("in.yaml", readFile(t, filepath.Join(dir, "in.yaml")))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range documents {
		found, err := d.Namespaces()
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range found {
			lookup.known[n.Name] = n
		}
	}
	handler := &webhook.Handler{
		Namespaces: lookup, Policies: fixedPolicies(policiesOf(t, dir)),
		ExemptNamespaces: v1alpha1.ExemptNamespaces(), Metrics: webhook.NewMetrics(prometheus.NewRegistry()), Log: logr.Discard(),
	}
	for i, template := range templates(t, filepath.Join(dir, "in.yaml")) {
		compareWithWebhook(t, handler, template, entries[i])
	}
}

// fixedPolicies are known from the start.
type fixedPolicies []inject.Policy

func (f fixedPolicies) At(context.Context, string) ([]inject.Policy, error) { return f, nil }

func compareWithWebhook(t *testing.T, handler http.Handler, template *manifest.Template, e entry) {
	t.Helper()
	response := review(t, handler, template, e.Namespace)
	if allowed := e.Decision != string(inject.Refused); response.Allowed != allowed {
		t.Errorf("%s: the webhook allows it: %v, the tool: %v", e.Name, response.Allowed, allowed)
	}
	if !response.Allowed && response.Result.Message != strings.ReplaceAll(e.Reason, template.Dotted("metadata"), "metadata") {
		t.Errorf("%s: the webhook says %q, the tool %q", e.Name, response.Result.Message, e.Reason)
	}
	prefix := template.Pointer("")
	for i := range e.Patch {
		e.Patch[i].Path = strings.TrimPrefix(e.Patch[i].Path, prefix)
		var compact bytes.Buffer
		if err := json.Compact(&compact, e.Patch[i].Value); err != nil {
			t.Fatal(err)
		}
		e.Patch[i].Value = compact.Bytes()
	}
	if len(e.Patch) == 0 {
		if len(response.Patch) > 0 {
			t.Errorf("%s: the webhook adds %s, the tool nothing", e.Name, response.Patch)
		}
		return
	}
	tool, err := json.Marshal(e.Patch)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(tool), string(response.Patch)); diff != "" {
		t.Errorf("%s: patch (-tool +webhook):\n%s", e.Name, diff)
	}
}

// review posts the template's pod, with all its fields, to the handler.
func review(t *testing.T, handler http.Handler, template *manifest.Template, namespace string) *admissionv1.AdmissionResponse {
	t.Helper()
	data, err := yaml.YAMLToJSON(template.Document.Text)
	if err != nil {
		t.Fatal(err)
	}
	var object any
	unmarshal(t, data, &object)
	for _, step := range template.Path {
		object = object.(map[string]any)[step]
	}
	body, err := json.Marshal(map[string]any{
		"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
		"request": map[string]any{
			"uid": "1", "kind": map[string]any{"group": "", "version": "v1", "kind": "Pod"},
			"namespace": namespace, "operation": "CREATE", "object": object,
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	request := httptest.NewRequest(http.MethodPost, webhook.Path, bytes.NewReader(body))
	request.Header.Set("Content-Type", "application/json")
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, request)
	var answer admissionv1.AdmissionReview
	unmarshal(t, recorder.Body.Bytes(), &answer)
	return answer.Response
}

func policiesOf(t *testing.T, dir string) []inject.Policy {
	t.Helper()
	file := filepath.Join(dir, "policy.yaml")
	if !fileExists(file) {
		return nil
	}
	policy := &v1alpha1.InjectionPolicy{}
	if err := yaml.UnmarshalStrict(readFile(t, file), policy); err != nil {
		t.Fatal(err)
	}
	compiled, err := inject.NewPolicy(policy)
	if err != nil {
		t.Fatal(err)
	}
	return []inject.Policy{compiled}
}

func applyPatch(t *testing.T, document, patch []byte) []byte {
	t.Helper()
	var ops []jsonpatchOperation
	unmarshal(t, patch, &ops)
	after, err := injecttest.Apply(document, ops)
	if err != nil {
		t.Fatal(err)
	}
	return after
}
