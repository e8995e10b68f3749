// Package validation holds the core against Kubernetes' own code: the API
// server's validation of pods, and its evaluation of match conditions.
package validation

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	admissioncel "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/webhook"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/cel/environment"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	podutil "k8s.io/kubernetes/pkg/api/pod"
	"k8s.io/kubernetes/pkg/apis/core"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/entry"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/inject"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/inject/injecttest"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/manifest"
)

// randomData returns bytes for a case, the same for the same number.
func randomData(n uint64) []byte {
	random := rand.New(rand.NewPCG(n, 7))
	data := make([]byte, 120)
	for i := range data {
		data[i] = byte(random.Uint32())
	}
	return data
}

// complete gives a generated pod what the API server asks of every pod. What
// it has of its own may be invalid all the same.
func complete(pod *corev1.Pod) {
	legacyscheme.Scheme.Default(pod)
	for _, containers := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range containers {
			containers[i].TerminationMessagePolicy = corev1.TerminationMessageReadFile
		}
	}
}

// validate returns what the API server has against a new pod.
func validate(t *testing.T, data []byte) error {
	t.Helper()
	versioned := &corev1.Pod{}
	if err := json.Unmarshal(data, versioned); err != nil {
		t.Fatal(err)
	}
	complete(versioned)
	pod := &core.Pod{}
	if err := legacyscheme.Scheme.Convert(versioned, pod, nil); err != nil {
		t.Fatal(err)
	}
	options := podutil.GetValidationOptionsFromPodSpecAndMeta(&pod.Spec, nil, &pod.ObjectMeta, nil)
	options.AllowNamespacedSysctlsForHostNetAndHostIPC = true
	return corevalidation.ValidatePodCreate(pod, options).ToAggregate()
}

// A pod that the API server would accept is accepted after the injection too.
func FuzzStaysValid(f *testing.F) {
	for n := range uint64(500) {
		f.Add(randomData(n))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := checkStaysValid(t, data); err != nil {
			t.Error(err)
		}
	})
}

// checkStaysValid tells whether the case says anything: a valid pod, injected.
func checkStaysValid(t *testing.T, data []byte) (told bool, err error) {
	t.Helper()
	c, err := injecttest.Generate(data)
	if err != nil {
		return false, err
	}
	if err := validate(t, c.Pod); err != nil {
		return false, nil //nolint:nilerr // the API server refuses the pod as it came
	}
	result, after, err := c.Check()
	if err != nil || result.Decision != inject.Injected {
		return false, err
	}
	if err := validate(t, after); err != nil {
		return true, fmt.Errorf("valid before, not after: %w\nbefore %s\nafter %s", err, c.Pod, after)
	}
	return true, nil
}

// Without valid pods that are injected, FuzzStaysValid would prove nothing.
func TestGeneratorMakesValidPods(t *testing.T) {
	told := 0
	for n := range uint64(10_000) {
		ok, err := checkStaysValid(t, randomData(n))
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			told++
		}
	}
	t.Logf("%d of 10,000 generated pods are valid and injected", told)
	if told < 400 {
		t.Errorf("only %d", told)
	}
}

// matchers evaluates the static entries' conditions with the API server's code.
type matchers struct {
	entries  []admissionregistrationv1.MutatingWebhook
	matchers []matchconditions.Matcher
}

func newMatchers() *matchers {
	compiler := admissioncel.NewConditionCompiler(environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()))
	m := &matchers{entries: entry.Static(admissionregistrationv1.WebhookClientConfig{})}
	for i := range m.entries {
		accessor := webhook.NewMutatingWebhookAccessor(m.entries[i].Name, "test", &m.entries[i])
		m.matchers = append(m.matchers, accessor.GetCompiledMatcher(compiler))
	}
	return m
}

// called tells which of the entries' conditions hold for a pod.
func (m *matchers) called(t *testing.T, pod *corev1.Pod) map[string]bool {
	t.Helper()
	kind, resource := corev1.SchemeGroupVersion.WithKind("Pod"), corev1.SchemeGroupVersion.WithResource("pods")
	pod.SetGroupVersionKind(kind)
	attributes := admission.NewAttributesRecord(pod, nil, kind, pod.Namespace, pod.Name, resource, "",
		admission.Create, &metav1.CreateOptions{}, false, &user.DefaultInfo{Name: "test"})
	versioned, err := admission.NewVersionedAttributes(attributes, kind, admission.NewObjectInterfacesFromScheme(runtime.NewScheme()))
	if err != nil {
		t.Fatal(err)
	}
	called := map[string]bool{}
	for i, matcher := range m.matchers {
		result := matcher.Match(t.Context(), versioned, nil, nil)
		if result.Error != nil {
			t.Fatalf("entry %s: %v", m.entries[i].Name, result.Error)
		}
		called[m.entries[i].Name] = result.Matches
	}
	return called
}

// Never is a pod filtered out that the core would inject or refuse. The generated
// pods are full of traps for recognition; most are still told apart.
func TestConditionsLetThroughWhatTheCoreInjects(t *testing.T) {
	m := newMatchers()
	through, vain := 0, 0
	for n := range uint64(20_000) {
		c, err := injecttest.Generate(randomData(n))
		if err != nil {
			t.Fatal(err)
		}
		c.Policies = nil // they have entries of their own
		result, err := c.Decide(c.Pod)
		if err != nil {
			t.Fatal(err)
		}
		pod := &corev1.Pod{}
		if err := json.Unmarshal(c.Pod, pod); err != nil {
			t.Fatal(err)
		}
		called := m.called(t, pod)
		if called[entry.Pod] && called[entry.Namespace] {
			t.Fatalf("both entries match pod %s", c.Pod)
		}
		matters := result.Decision != inject.Skipped || len(result.Warnings) > 0
		switch result.Source {
		case inject.SourcePod:
			if matters && !called[entry.Pod] {
				t.Fatalf("filtered out: %s %s\npod %s", result.Decision, result.Reason, c.Pod)
			}
		case inject.SourceNamespace:
			if result.Reason == inject.OptedOut {
				continue
			}
			if matters && !called[entry.Namespace] {
				t.Fatalf("filtered out: %s %s\npod %s", result.Decision, result.Reason, c.Pod)
			}
			if called[entry.Namespace] {
				through++
				if result.Reason == inject.NoS3Client {
					vain++
				}
			}
		}
	}
	t.Logf("namespace entry: %d pods let through, %d of them in vain (%.1f %%)", through, vain, 100*float64(vain)/float64(through))
	if vain*5 > through {
		t.Errorf("%d of %d in vain", vain, through)
	}
}

// Of the pods that people run, none is let through in vain.
func TestConditionsAreExactForRealPods(t *testing.T) {
	files, err := filepath.Glob("../../pkg/inject/testdata/pods/*/in.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	m := newMatchers()
	namespace := inject.Namespace{Name: "team", Labels: map[string]string{"s3-tls/inject": "true"}}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		documents, err := manifest.Parse(file, data)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range documents {
			templates, err := d.Templates()
			if err != nil {
				t.Fatal(err)
			}
			for _, template := range templates {
				delete(template.Pod.Metadata.Annotations, "s3-tls/inject")
				delete(template.Pod.Metadata.Annotations, "s3-tls/containers")
				result := inject.Decide(inject.Input{Pod: template.Pod, Namespace: namespace})
				encoded, err := json.Marshal(template.Pod)
				if err != nil {
					t.Fatal(err)
				}
				pod := &corev1.Pod{}
				if err := json.Unmarshal(encoded, pod); err != nil {
					t.Fatal(err)
				}
				wanted := result.Reason != inject.NoS3Client && result.Reason != inject.Windows && result.Reason != inject.MirrorPod
				if called := m.called(t, pod)[entry.Namespace]; called != wanted {
					t.Errorf("%s#%d %s: called %v, the core says %s %s", file, d.Number, template.Name, called, result.Decision, result.Reason)
				}
			}
		}
	}
}
