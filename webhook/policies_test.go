package webhook

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/api/v1alpha1"
)

func policyAt(name, version string) *v1alpha1.InjectionPolicy {
	p := &v1alpha1.InjectionPolicy{ObjectMeta: metav1.ObjectMeta{Name: name, ResourceVersion: version}}
	p.Spec.CA.Secret = &v1alpha1.KeyRef{Name: "s3-tls-cert"}
	return p
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestPoliciesAreKnownUpToAVersion(t *testing.T) {
	c := &ClusterPolicies{Log: logr.Discard()}
	if _, err := c.At(t.Context(), ""); err == nil || c.Synced() {
		t.Fatal("policies are known before they are listed")
	}
	must(t, c.Replace([]any{policyAt("b", "5"), policyAt("a", "7")}, "10"))
	must(t, c.Add(policyAt("c", "11")))
	must(t, c.Update(policyAt("b", "12")))
	must(t, c.Delete(policyAt("a", "13")))
	for version, want := range map[string]int{"": 2, "5": 2, "13": 2} {
		if got, err := c.At(t.Context(), version); err != nil || len(got) != want {
			t.Errorf("at %q: %d policies, %v; want %d", version, len(got), err, want)
		}
	}
	c.UpdateResourceVersion("20") // a bookmark
	if _, err := c.At(t.Context(), "20"); err != nil {
		t.Error(err)
	}
	if _, err := c.At(t.Context(), "latest"); err == nil {
		t.Error("a version that is no number is taken")
	}
}

// A review of a version that is not known yet is answered when it is.
func TestReviewWaitsForItsPolicies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := newHandler(nil)
		policies := &ClusterPolicies{Log: logr.Discard()}
		h.Policies = policies
		must(t, policies.Replace(nil, "9"))
		go func() {
			time.Sleep(policiesWait / 2)
			_ = policies.Add(policyAt("all", "10")) // it cannot fail
		}()
		started := time.Now()
		silent := strings.Replace(thanosPod, "s3-tls/inject", "other", 1)
		recorder := serve(t.Context(), h, PoliciesPath+"10", reviewOf(silent))
		if response := answerOf(t, recorder); response.Patch == nil || time.Since(started) != policiesWait/2 {
			t.Errorf("after %s: %+v", time.Since(started), response)
		}
	})
}

// A replica that is not told in time leaves the pod to the entry's failurePolicy.
func TestReviewOfAnUnknownVersionIsNoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := newHandler(nil)
		policies := &ClusterPolicies{Log: logr.Discard()}
		h.Policies = policies
		must(t, policies.Replace(nil, "9"))
		recorder := serve(t.Context(), h, PoliciesPath+"10", reviewOf(thanosPod))
		if recorder.Code != http.StatusServiceUnavailable || !strings.Contains(recorder.Body.String(), "does not know the policies yet") {
			t.Errorf("status %d, body %s", recorder.Code, recorder.Body)
		}
	})
}

// serve sends a review to a path, by the routes that the server has.
func serve(ctx context.Context, h *Handler, path, body string) *httptest.ResponseRecorder {
	mux := http.NewServeMux()
	h.Register(mux.Handle)
	request := httptest.NewRequestWithContext(ctx, http.MethodPost, path, strings.NewReader(body))
	request.Header.Set("Content-Type", "application/json")
	recorder := httptest.NewRecorder()
	mux.ServeHTTP(recorder, request)
	return recorder
}
