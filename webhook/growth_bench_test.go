package webhook

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/api/v1alpha1"
)

// BenchmarkGrowth times the handler with more and more of what it could depend on: containers of the
// pod, policies, and namespaces of the cluster. hack/charts draws what it prints.
func BenchmarkGrowth(b *testing.B) {
	review, err := os.ReadFile(filepath.Join(reviews, "typical.json"))
	if err != nil {
		b.Fatal(err)
	}
	for _, n := range []int{1, 25, 50, 100, 150, 200} {
		b.Run(fmt.Sprintf("containers/%d", n), func(b *testing.B) { serveAgain(b, newBenchHandler(), withContainers(b, review, n)) })
	}
	for _, n := range []int{0, 100, 250, 500, 750, 1000} {
		b.Run(fmt.Sprintf("policies/%d", n), func(b *testing.B) {
			h := newBenchHandler()
			h.Policies = withPolicies(b, n)
			serveAgain(b, h, review)
		})
	}
	for _, n := range []int{0, 10_000, 20_000, 30_000, 40_000, 50_000} {
		b.Run(fmt.Sprintf("namespaces/%d", n), func(b *testing.B) {
			h := newBenchHandler()
			h.Namespaces = withNamespaces(b, n)
			serveAgain(b, h, review)
		})
	}
}

func newBenchHandler() *Handler {
	return &Handler{Metrics: NewMetrics(prometheus.NewRegistry()), Log: logr.FromSlogHandler(slog.NewTextHandler(io.Discard, nil))}
}

// serveAgain serves a review again and again.
func serveAgain(b *testing.B, h *Handler, review []byte) {
	b.Helper()
	request := httptest.NewRequest(http.MethodPost, Path, nil)
	request.Header.Set("Content-Type", "application/json")
	request.ContentLength = int64(len(review))
	sent := &body{}
	request.Body = sent
	b.ReportAllocs()
	b.SetBytes(int64(len(review)))
	for b.Loop() {
		sent.Reset(review)
		answer := &discard{header: http.Header{}}
		h.ServeHTTP(answer, request)
		if answer.status != 0 {
			b.Fatalf("status %d", answer.status)
		}
	}
}

// withContainers is a review of a pod with n containers, each like the first one.
func withContainers(b *testing.B, review []byte, n int) []byte {
	b.Helper()
	var rev admissionv1.AdmissionReview
	var pod corev1.Pod
	if err := json.Unmarshal(review, &rev); err != nil {
		b.Fatal(err)
	}
	if err := json.Unmarshal(rev.Request.Object.Raw, &pod); err != nil {
		b.Fatal(err)
	}
	first := pod.Spec.Containers[0]
	pod.Spec.Containers, pod.ManagedFields = nil, nil
	for i := range n {
		first.Name = "thanos-store-" + strconv.Itoa(i)
		pod.Spec.Containers = append(pod.Spec.Containers, first)
	}
	var err error
	if rev.Request.Object.Raw, err = json.Marshal(pod); err != nil {
		b.Fatal(err)
	}
	made, err := json.Marshal(rev)
	if err != nil {
		b.Fatal(err)
	}
	return made
}

// withPolicies are n policies, of which the last one selects the pod.
func withPolicies(b *testing.B, n int) Policies {
	b.Helper()
	var all []any
	for i := range n {
		p := &v1alpha1.InjectionPolicy{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("team-%04d", i), ResourceVersion: "1"}}
		p.Spec.CA.Secret = &v1alpha1.KeyRef{Name: v1alpha1.DefaultSecret}
		if i < n-1 {
			p.Spec.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"team": strconv.Itoa(i)}}
		}
		all = append(all, p)
	}
	policies := &ClusterPolicies{Log: logr.Discard()}
	if err := policies.Replace(all, "1"); err != nil {
		b.Fatal(err)
	}
	return policies
}

// withNamespaces are n namespaces and that of the pod.
func withNamespaces(b *testing.B, n int) Namespaces {
	b.Helper()
	all := []any{&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}}}
	for i := range n {
		name := fmt.Sprintf("team-%d", i)
		all = append(all, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"team": strconv.Itoa(i), corev1.LabelMetadataName: name}}})
	}
	namespaces := NewClusterNamespaces(nil)
	if err := namespaces.store.Replace(all, "1"); err != nil {
		b.Fatal(err)
	}
	return namespaces
}
