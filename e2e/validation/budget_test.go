package validation

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/api/v1alpha1"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/inject"
)

// The dearest pods within the bounds of the conditions stay within the API server's
// budget for the policies that cost most. A condition over the budget would refuse
// the pod.
func TestConditionsStayWithinTheBudget(t *testing.T) {
	image := strings.Repeat("a", 120) + "/mc"
	argument := strings.Repeat("b", 127) + "c"
	policy := &v1alpha1.InjectionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "dear"}}
	for range 8 { // what the CRD takes
		client := v1alpha1.Client{Image: image}
		for range 7 {
			client.Args = append(client.Args, "b") // is found
		}
		policy.Spec.Clients = append(policy.Spec.Clients, v1alpha1.Client{Image: client.Image, Args: append(client.Args, argument)})
	}
	names := &v1alpha1.InjectionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "names"}} // shares an entry with the other one
	for i := range 64 {
		names.Spec.Containers = append(names.Spec.Containers, fmt.Sprintf("%s-%d", strings.Repeat("n", 60), i))
	}
	const everyName = "-thanos-loki-mimir-tempo-cortex-pyroscope-target"
	pods := map[string]*corev1.Pod{
		"400 short words":             podOf(1, image, repeat("b", 400)),
		"400 words of every name":     podOf(1, image, repeat("b"+everyName[:37], 400)),
		"200 containers of one image": podOf(200, image[len(image)-30:], repeat("b"+everyName[:20], 2)),
		"images alone":                podOf(200, strings.Repeat("x", 79), nil),
		"one long word":               podOf(1, image, []string{strings.Repeat("b", 15_500)}),
		"one long script":             podOf(1, image, []string{"sh", "-c", strings.Repeat(everyName+" ", 300)}),
		"beyond every bound":          podOf(300, image, repeat("b", 50)),
		"a long image":                podOf(1, strings.Repeat("y", 1<<20), nil),
	}
	m := newMatchers()
	for name, pod := range pods {
		t.Run(name, func(t *testing.T) {
			namespace := inject.Namespace{Name: "shop", Labels: map[string]string{"s3-tls/inject": "true"}}
			m.called(t, pod, namespace, entriesFor([]*v1alpha1.InjectionPolicy{policy, names})) // it fails where a condition does
			namespace.Labels = nil
			m.called(t, pod, namespace, entriesFor([]*v1alpha1.InjectionPolicy{policy, names})) // it fails where a condition does
		})
	}
}

func repeat(word string, n int) []string { return strings.Fields(strings.Repeat(word+" ", n)) }

func podOf(containers int, image string, args []string) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "pod"}}
	for i := range containers {
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: fmt.Sprintf("c%d", i), Image: image, Args: args})
	}
	return pod
}
