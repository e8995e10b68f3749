package inject_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/api/v1alpha1"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/ca"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/inject"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/inject/injecttest"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/settings"
)

var update = flag.Bool("update", false, "rewrite the want sections")

// Each file of testdata is one behaviour, told by its name: a pod, its
// surroundings where they matter, and the whole answer.
func TestDecide(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d cases, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			in, pod, want, err := readCase(archive)
			if err != nil {
				t.Fatal(err)
			}
			result := inject.Decide(in)
			got := render(&result)
			if *update {
				writeWant(t, file, archive, got)
				return
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
			checkSecondRun(t, in, pod, &result)
		})
	}
}

// readCase reads the sections of a case; one that it does not know fails.
func readCase(archive *txtar.Archive) (in inject.Input, pod, want []byte, err error) {
	in.Namespace.Name = "shop"
	in.ExemptNamespaces = v1alpha1.ExemptNamespaces()
	for _, f := range archive.Files {
		switch {
		case f.Name == "pod.yaml":
			pod = f.Data
			err = errors.Join(err, yaml.Unmarshal(f.Data, &in.Pod))
		case f.Name == "input.yaml": // namespace, claimTemplates
			err = errors.Join(err, yaml.UnmarshalStrict(f.Data, &in))
		case f.Name == "ca.yaml": // what is known of the CA, whatever its name
			var known ca.Judgement
			err = errors.Join(err, yaml.UnmarshalStrict(f.Data, &known))
			in.CA = func(settings.CA) (ca.Judgement, bool) { return known, true }
		case strings.HasPrefix(f.Name, "policy"):
			policy := &v1alpha1.InjectionPolicy{}
			err = errors.Join(err, yaml.UnmarshalStrict(f.Data, policy))
			compiled, _ := inject.NewPolicy(policy) // its mistakes are what some cases are about
			in.Policies = append(in.Policies, compiled)
		case f.Name == "want":
			want = f.Data
		default:
			err = errors.Join(err, fmt.Errorf("unknown section %q", f.Name))
		}
	}
	return in, pod, want, err
}

// render writes an answer for people.
func render(r *inject.Result) string {
	var b strings.Builder
	line := func(key, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s: %s\n", key, value)
		}
	}
	line("decision", string(r.Decision))
	line("reason", string(r.Reason))
	line("source", r.Source)
	line("rule", r.Rule)
	line("containers", strings.Join(r.Containers, ", "))
	for _, m := range r.Mistakes {
		line("mistake", m.String())
	}
	for _, m := range r.Warnings {
		line("warning", m.String())
	}
	for _, op := range r.Patch {
		value, err := json.Marshal(op.Value)
		if err != nil {
			line("error", err.Error())
		}
		fmt.Fprintf(&b, "%s %s %s\n", op.Operation, op.Path, value)
	}
	return b.String()
}

func writeWant(t *testing.T, file string, archive *txtar.Archive, got string) {
	t.Helper()
	archive.Files = slices.DeleteFunc(archive.Files, func(f txtar.File) bool { return f.Name == "want" })
	archive.Files = append(archive.Files, txtar.File{Name: "want", Data: []byte(got)})
	if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
		t.Fatal(err)
	}
}

// checkSecondRun applies the patch and decides again.
func checkSecondRun(t *testing.T, in inject.Input, podYAML []byte, first *inject.Result) {
	t.Helper()
	pod, err := yaml.YAMLToJSON(podYAML)
	if err != nil {
		t.Fatal(err)
	}
	after, err := injecttest.Apply(pod, first.Patch)
	if err != nil {
		t.Fatal(err)
	}
	if first.Decision != inject.Injected {
		return
	}
	in.Pod = inject.Pod{}
	if err := json.Unmarshal(after, &in.Pod); err != nil {
		t.Fatal(err)
	}
	second := inject.Decide(in)
	if second.Reason != inject.AlreadyInjected || len(second.Patch) > 0 || len(second.Warnings) > 0 {
		t.Errorf("second run: %s", render(&second))
	}
}

// The same input gives the same bytes, whatever the order of maps.
func TestDecideIsDeterministic(t *testing.T) {
	data := make([]byte, 300)
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		for i := range data {
			data[i] = byte(random.Uint32())
		}
		c, err := injecttest.Generate(data)
		if err != nil {
			t.Fatal(err)
		}
		var first []byte
		for range 3 {
			result, err := c.Decide(c.Pod)
			if err != nil {
				t.Fatal(err)
			}
			got := []byte(render(&result))
			if first != nil && !bytes.Equal(first, got) {
				t.Fatalf("two answers:\n%s\n%s", first, got)
			}
			first = got
		}
	}
}

func FuzzDecide(f *testing.F) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		data := make([]byte, 120)
		for i := range data {
			data[i] = byte(random.Uint32())
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := injecttest.Generate(data)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := c.Check(); err != nil {
			t.Errorf("%v\npod %s\nnamespace %+v", err, c.Pod, c.Namespace)
		}
	})
}

// The generator must reach every decision and reason, or the fuzz target
// proves nothing.
func TestGeneratorReachesEverything(t *testing.T) {
	seen := map[string]int{}
	random := rand.New(rand.NewPCG(5, 6))
	data := make([]byte, 120)
	for range 20_000 {
		for i := range data {
			data[i] = byte(random.Uint32())
		}
		c, err := injecttest.Generate(data)
		if err != nil {
			t.Fatal(err)
		}
		result, err := c.Decide(c.Pod)
		if err != nil {
			t.Fatal(err)
		}
		seen[string(result.Decision)+" "+string(result.Reason)+" "+result.Source]++
	}
	for _, want := range []string{
		"injected  pod", "injected  namespace", "injected  policy/alpha", "skipped exempt ", "skipped opted-out pod", "skipped opted-out namespace",
		"skipped not-opted-in ", "skipped no-s3-client namespace", "skipped already-injected pod", "skipped invalid-settings namespace",
		"skipped conflict pod", "refused invalid-settings pod", "refused invalid-inject pod",
	} {
		if seen[want] == 0 {
			t.Errorf("never %q; seen %v", want, seen)
		}
	}
}

// The CA that a pod carries is the one that its client is told of, whatever else it mounts.
func TestCarriedCA(t *testing.T) {
	file := func(name, secret string) corev1.Volume {
		return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{
			SecretName: secret, Items: []corev1.KeyToPath{{Key: "ca.crt", Path: "s3-ca.crt"}},
		}}}
	}
	mount := func(name, path string) corev1.VolumeMount {
		return corev1.VolumeMount{Name: name, MountPath: path, SubPath: "s3-ca.crt"}
	}
	for name, tt := range map[string]struct {
		volumes []corev1.Volume
		mounts  []corev1.VolumeMount
		want    string
	}{
		"ours":                      {[]corev1.Volume{file("other", "a"), file("s3-tls-cert", "b")}, []corev1.VolumeMount{mount("other", "/a"), mount("s3-tls-cert", "/b")}, "b"},
		"one that a variable names": {[]corev1.Volume{file("client", "a"), file("storage-ca", "b")}, []corev1.VolumeMount{mount("client", "/a"), mount("storage-ca", "/ca.crt")}, "b"},
		"the first":                 {[]corev1.Volume{file("x", "a"), file("y", "b")}, []corev1.VolumeMount{mount("x", "/a"), mount("y", "/b")}, "a"},
		"one that is not mounted":   {[]corev1.Volume{file("s3-tls-cert", "a"), file("y", "b")}, []corev1.VolumeMount{mount("y", "/b")}, "b"},
		"none":                      {[]corev1.Volume{file("x", "a")}, nil, ""},
	} {
		pod := &corev1.Pod{Spec: corev1.PodSpec{Volumes: tt.volumes, Containers: []corev1.Container{{
			VolumeMounts: tt.mounts, Env: []corev1.EnvVar{{Name: "SSL_CERT_FILE", Value: "/ca.crt"}},
		}}}}
		view := inject.View(pod)
		if got, ok := view.CarriedCA(); got.Name != tt.want || ok != (tt.want != "") {
			t.Errorf("%s: %+v, %v", name, got, ok)
		}
	}
}
