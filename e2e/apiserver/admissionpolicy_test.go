package apiserver

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/s3-tls-injector/s3-tls-injector/e2e/localcluster"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/cli"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/manifest"
)

// tool runs the command-line tool.
func tool(t *testing.T, args ...string) (stdout string) {
	t.Helper()
	var out, errOut bytes.Buffer
	status := cli.Run(t.Context(), args, cli.Streams{In: strings.NewReader(""), Out: &out, Err: &errOut, Now: time.Now})
	if status == cli.ExitError {
		t.Fatalf("kubectl-s3_tls %v: %s", args, &errOut)
	}
	return out.String()
}

// podsAnswer is what `inject -o patch` says of a template.
type podsAnswer struct {
	Document                  int
	Namespace, Name, Decision string
	Reason                    string
	Patch                     json.RawMessage
}

// The exported objects make the same pods as the core, for all real-world
// manifests, on an API server without the webhook.
func TestExportedPoliciesInjectAsTheCoreDoes(t *testing.T) {
	own := ownCluster(t)
	c, err := client.New(own.Config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	apply := func(t *testing.T, objects string) {
		t.Helper()
		if _, stderr, err := own.Kubectl(t.Context(), objects, "apply", "--server-side", "-f", "-"); err != nil {
			t.Fatalf("%v: %s", err, stderr)
		}
	}
	apply(t, tool(t, "export", "mutatingadmissionpolicy"))
	probe := newPod("default", optIn)
	within(t, 30*time.Second, "the API server to use the objects", func() error {
		pod := probe.DeepCopy()
		if err := c.Create(t.Context(), pod, client.DryRunAll); err != nil {
			return err
		}
		if !carriesCA(&pod.Spec.Containers[0]) {
			return fmt.Errorf("not injected: %+v", pod.Spec)
		}
		return nil
	})
	cases, err := filepath.Glob(filepath.Join(cluster.Source, "pkg/inject/testdata/pods/*/case.yaml"))
	if err != nil || len(cases) == 0 {
		t.Fatalf("%d cases, %v", len(cases), err)
	}
	cases = append(cases, overlapping(t))
	compared, injected := 0, 0
	for _, file := range cases {
		t.Run(filepath.Base(filepath.Dir(file)), func(t *testing.T) {
			dir := filepath.Dir(file)
			var parsed struct{ Args []string }
			if err := yaml.Unmarshal(readFile(t, file), &parsed); err != nil {
				t.Fatal(err)
			}
			args := append([]string{"inject", "-o", "patch", "-f", filepath.Join(dir, "in.yaml")}, parsed.Args...)
			if policy := filepath.Join(dir, "policy.yaml"); exists(policy) {
				args = append(args, "--policy", policy)
				objects := tool(t, "export", "mutatingadmissionpolicy", "--policy", policy)
				apply(t, objects)
				t.Cleanup(func() {
					if _, stderr, err := own.Kubectl(t.Context(), objects, "delete", "--ignore-not-found", "-f", "-"); err != nil && t.Context().Err() == nil {
						t.Errorf("%v: %s", err, stderr)
					}
				})
				time.Sleep(2 * time.Second) // the API server looks for new objects every second
			}
			var answers []podsAnswer
			if err := json.Unmarshal([]byte(tool(t, args...)), &answers); err != nil {
				t.Fatal(err)
			}
			for i, pods := range podsOf(t, dir, answers) {
				namespace := ensureNamespace(t, c, dir, parsed.Args, answers[i].Namespace)
				got, gotErr := created(t, c, pods.before, namespace)
				want, wantErr := created(t, c, pods.after, "kube-public") // where the exported objects do nothing
				if (gotErr == nil) != (wantErr == nil) {
					t.Errorf("%s: created as it is: %v, with the core's patch: %v", answers[i].Name, gotErr, wantErr)
					continue
				}
				if gotErr != nil {
					t.Logf("%s is no valid pod: %v", answers[i].Name, gotErr)
					continue
				}
				compared++
				if answers[i].Decision == "injected" {
					injected++
				}
				diff := cmp.Diff(want, got)
				// The API server's admission is told of a new namespace a moment after its creation.
				for tries := 0; diff != "" && tries < 5; tries++ {
					time.Sleep(time.Second)
					if got, gotErr = created(t, c, pods.before, namespace); gotErr != nil {
						t.Fatal(gotErr)
					}
					diff = cmp.Diff(want, got)
				}
				if diff != "" {
					t.Errorf("%s (%s %s): (-core +API server)\n%s", answers[i].Name, answers[i].Decision, answers[i].Reason, diff)
				}
			}
		})
	}
	t.Logf("%d pods compared, %d of them injected by the core", compared, injected)
	if injected < 40 {
		t.Errorf("only %d pods of %d are injected", injected, compared)
	}
}

// overlapping writes a case of two policies that select the same pods, and returns
// its file.
func overlapping(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "overlapping-policies")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	pod := func(name, namespace, app string) string {
		return "---\napiVersion: v1\nkind: Pod\nmetadata: {name: " + name + ", namespace: " + namespace + ", labels: {app: " + app + "}}\n" +
			"spec: {containers: [{name: store, image: thanos, args: [store]}]}\n"
	}
	for file, text := range map[string]string{
		"case.yaml": "{}\n",
		"in.yaml": "apiVersion: v1\nkind: Namespace\nmetadata: {name: tier, labels: {tier: storage}}\n" +
			pod("first", "tier", "store") + pod("second", "tier", "other") + pod("elsewhere", "default", "store"),
		"policy.yaml": `
apiVersion: policy.s3-tls/v1alpha1
kind: InjectionPolicy
metadata: {name: b-everything}
spec: {ca: {secret: {name: s3-tls-cert}}, mountPath: /opt/everything.pem}
---
apiVersion: policy.s3-tls/v1alpha1
kind: InjectionPolicy
metadata: {name: a-tier}
spec:
  namespaceSelector: {matchLabels: {tier: storage}, matchExpressions: [{key: gone, operator: DoesNotExist}]}
  podSelector: {matchExpressions: [{key: app, operator: In, values: [store, its]}, {key: app, operator: NotIn, values: [x]}, {key: app, operator: Exists}]}
  ca: {configMap: {name: storage-ca}}
  mountPath: /opt/it's.pem
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "case.yaml")
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return !errors.Is(err, os.ErrNotExist)
}

// podPair is a pod before and after the core's patch.
type podPair struct{ before, after []byte }

// podsOf returns the pods of in.yaml in the order of the answers.
func podsOf(t *testing.T, dir string, answers []podsAnswer) []podPair {
	t.Helper()
	documents, err := manifest.Parse("in.yaml", readFile(t, filepath.Join(dir, "in.yaml")))
	if err != nil {
		t.Fatal(err)
	}
	var pairs []podPair
	for _, d := range documents {
		templates, err := d.Templates()
		if err != nil {
			t.Fatal(err)
		}
		document, err := yaml.YAMLToJSON(d.Text)
		if err != nil {
			t.Fatal(err)
		}
		for _, template := range templates {
			after := document
			if patch := answers[len(pairs)].Patch; len(patch) > 0 && string(patch) != "null" {
				decoded, err := jsonpatch.DecodePatch(patch)
				if err != nil {
					t.Fatal(err)
				}
				if after, err = decoded.Apply(document); err != nil {
					t.Fatal(err)
				}
			}
			pairs = append(pairs, podPair{pick(t, document, template.Path), pick(t, after, template.Path)})
		}
	}
	if len(pairs) != len(answers) {
		t.Fatalf("%d pods, %d answers", len(pairs), len(answers))
	}
	return pairs
}

// pick returns what is at a path.
func pick(t *testing.T, document []byte, path []string) []byte {
	t.Helper()
	var value any
	if err := json.Unmarshal(document, &value); err != nil {
		t.Fatal(err)
	}
	for _, step := range path {
		if list, ok := value.([]any); ok {
			n, err := strconv.Atoi(step)
			if err != nil {
				t.Fatal(err)
			}
			value = list[n]
			continue
		}
		value = value.(map[string]any)[step]
	}
	picked, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return picked
}

// ensureNamespace makes a namespace for the pods of a case, with what the case
// says of it, and returns its name.
func ensureNamespace(t *testing.T, c client.Client, dir string, args []string, name string) string {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{}, Annotations: map[string]string{}}}
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
			if n.Name == name {
				namespace.Labels, namespace.Annotations = n.Labels, n.Annotations
			}
		}
	}
	if namespace.Labels == nil {
		namespace.Labels = map[string]string{}
	}
	if namespace.Annotations == nil {
		namespace.Annotations = map[string]string{}
	}
	for i := 0; i+1 < len(args); i += 2 {
		key, value, _ := strings.Cut(args[i+1], "=")
		switch args[i] {
		case "--namespace-label":
			namespace.Labels[key] = value
		case "--namespace-annotation":
			namespace.Annotations[key] = value
		}
	}
	exempt := []string{"kube-system", "kube-public", "kube-node-lease"}
	if name == localcluster.Name || slices.Contains(exempt, name) {
		if name == localcluster.Name {
			namespace.Name = name
			_ = c.Create(t.Context(), namespace) // it may be there already
		}
		return name
	}
	namespace.GenerateName = "case-"
	if err := c.Create(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	return namespace.Name
}

// created returns annotations and spec of the pod that the API server makes.
func created(t *testing.T, c client.Client, podJSON []byte, namespace string) (map[string]any, error) {
	t.Helper()
	pod := &corev1.Pod{}
	if err := json.Unmarshal(podJSON, pod); err != nil {
		t.Fatal(err)
	}
	pod.Name, pod.GenerateName, pod.Namespace = "", "pod-", namespace
	if err := c.Create(t.Context(), pod, client.DryRunAll); err != nil {
		return nil, err
	}
	text, err := json.Marshal(map[string]any{"annotations": pod.Annotations, "spec": pod.Spec})
	if err != nil {
		t.Fatal(err)
	}
	var made map[string]any
	return made, json.Unmarshal(text, &made)
}
