// Package validation holds the core against Kubernetes' own code: the API
// server's validation of pods, and its evaluation of match conditions.
package validation

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
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

	"github.com/s3-tls-injector/s3-tls-injector/pkg/api/v1alpha1"
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

// matchers evaluates entries with the API server's code.
type matchers struct {
	compiler   admissioncel.ConditionCompiler
	conditions map[string]matchconditions.Matcher // compiled ones, by their text
}

func newMatchers() *matchers {
	return &matchers{
		compiler:   admissioncel.NewConditionCompiler(environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion())),
		conditions: map[string]matchconditions.Matcher{},
	}
}

// called returns the entries that the API server would call for a pod in a
// namespace.
func (m *matchers) called(t *testing.T, pod *corev1.Pod, namespace inject.Namespace, entries []admissionregistrationv1.MutatingWebhook) []string {
	t.Helper()
	kind, resource := corev1.SchemeGroupVersion.WithKind("Pod"), corev1.SchemeGroupVersion.WithResource("pods")
	pod.SetGroupVersionKind(kind)
	attributes := admission.NewAttributesRecord(pod, nil, kind, pod.Namespace, pod.Name, resource, "",
		admission.Create, &metav1.CreateOptions{}, false, &user.DefaultInfo{Name: "test"})
	versioned, err := admission.NewVersionedAttributes(attributes, kind, admission.NewObjectInterfacesFromScheme(runtime.NewScheme()))
	if err != nil {
		t.Fatal(err)
	}
	var called []string
	for i := range entries {
		e := &entries[i]
		if !selects(t, e.NamespaceSelector, namespace.Labels) || !selects(t, e.ObjectSelector, pod.Labels) {
			continue
		}
		result := m.compiled(e).Match(t.Context(), versioned, nil, nil)
		if result.Error != nil {
			t.Fatalf("entry %s: %v", e.Name, result.Error)
		}
		if result.Matches {
			called = append(called, e.Name)
		}
	}
	return called
}

func (m *matchers) compiled(e *admissionregistrationv1.MutatingWebhook) matchconditions.Matcher {
	text := fmt.Sprint(e.MatchConditions)
	if m.conditions[text] == nil {
		m.conditions[text] = webhook.NewMutatingWebhookAccessor(e.Name, "test", e).GetCompiledMatcher(m.compiler)
	}
	return m.conditions[text]
}

func selects(t *testing.T, selector *metav1.LabelSelector, set map[string]string) bool {
	t.Helper()
	if selector == nil {
		return true
	}
	compiled, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		t.Fatal(err)
	}
	return compiled.Matches(labels.Set(set))
}

// entriesFor returns all entries of a cluster with these policies.
func entriesFor(policies []*v1alpha1.InjectionPolicy) []admissionregistrationv1.MutatingWebhook {
	client := admissionregistrationv1.WebhookClientConfig{}
	entries := entry.Static(client)
	for _, e := range entry.Policies(client, v1alpha1.ExemptNamespaces(), policies) {
		entries = append(entries, e.Webhook)
	}
	return entries
}

// Never is a pod filtered out that the core would inject or refuse. The generated
// pods are full of traps for recognition; most are still told apart.
func TestEntriesLetThroughWhatTheCoreInjects(t *testing.T) {
	m := newMatchers()
	through, vain := map[string]int{}, map[string]int{}
	for n := range uint64(20_000) {
		c, err := injecttest.Generate(randomData(n))
		if err != nil {
			t.Fatal(err)
		}
		result, err := c.Decide(c.Pod)
		if err != nil {
			t.Fatal(err)
		}
		pod := &corev1.Pod{}
		if err := json.Unmarshal(c.Pod, pod); err != nil {
			t.Fatal(err)
		}
		called := m.called(t, pod, c.Namespace, entriesFor(c.Policies))
		if len(called) > 1 && (slices.Contains(called, entry.Pod) || slices.Contains(called, entry.Namespace)) {
			t.Fatalf("a static entry and another one match: %v\npod %s", called, c.Pod)
		}
		if matters := result.Decision != inject.Skipped || len(result.Warnings) > 0; matters && len(called) == 0 {
			t.Fatalf("filtered out: %s %s %s\nnamespace %+v\npod %s", result.Decision, result.Reason, result.Source, c.Namespace, c.Pod)
		}
		for _, name := range called {
			kind := name
			if strings.HasSuffix(name, ".policy.inject.s3-tls") {
				kind = "policy"
			}
			through[kind]++
			if result.Reason == inject.NoS3Client || result.Reason == inject.NotOptedIn {
				vain[kind]++
			}
		}
	}
	for _, kind := range []string{entry.Pod, entry.Namespace, "policy"} {
		t.Logf("%s: %d pods let through, %d of them in vain (%.1f %%)", kind, through[kind], vain[kind], 100*float64(vain[kind])/float64(through[kind]))
		if through[kind] < 500 || vain[kind]*5 > through[kind] {
			t.Errorf("%s: %d of %d in vain", kind, vain[kind], through[kind])
		}
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
				if called := len(m.called(t, pod, namespace, entriesFor(nil))) > 0; called != wanted {
					t.Errorf("%s#%d %s: called %v, the core says %s %s", file, d.Number, template.Name, called, result.Decision, result.Reason)
				}
			}
		}
	}
}
