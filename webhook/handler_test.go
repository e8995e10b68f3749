package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	admissionv1 "k8s.io/api/admission/v1"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/inject"
)

// reviewOf renders a review; the object is JSON.
func reviewOf(object string) string {
	return fmt.Sprintf(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u1",
"kind":{"group":"","version":"v1","kind":"Pod"},"resource":{"group":"","version":"v1","resource":"pods"},
"namespace":"shop","operation":"CREATE","dryRun":false,"object":%s,"oldObject":null}}`, object)
}

const thanosPod = `{"metadata":{"generateName":"thanos-","annotations":{"s3-tls/inject":"true"}},
"spec":{"containers":[{"name":"thanos","image":"thanos","args":["store"]}]}}`

// fakeNamespaces stands for a lookup; the real one is tested on a real API server.
type fakeNamespaces map[string]inject.Namespace

func (f fakeNamespaces) Namespace(_ context.Context, name string) (inject.Namespace, error) {
	if n, ok := f[name]; ok {
		return n, nil
	}
	return inject.Namespace{}, errors.New("connection refused")
}

func newHandler(log *bytes.Buffer) (*Handler, *prometheus.Registry) {
	registry := prometheus.NewRegistry()
	sink := funcr.New(func(_, args string) {
		if log != nil {
			log.WriteString(args + "\n")
		}
	}, funcr.Options{Verbosity: 2})
	return &Handler{
		Namespaces: fakeNamespaces{"shop": {Name: "shop"}}, ExemptNamespaces: []string{"kube-system"},
		Metrics: NewMetrics(registry), Log: sink,
	}, registry
}

func post(h http.Handler, body, contentType string) *httptest.ResponseRecorder {
	request := httptest.NewRequest(http.MethodPost, Path, strings.NewReader(body))
	request.Header.Set("Content-Type", contentType)
	recorder := httptest.NewRecorder()
	h.ServeHTTP(recorder, request)
	return recorder
}

func answerOf(t *testing.T, recorder *httptest.ResponseRecorder) *admissionv1.AdmissionResponse {
	t.Helper()
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(recorder.Body.Bytes(), &review); err != nil {
		t.Fatalf("%s: %v", recorder.Body, err)
	}
	if review.APIVersion != "admission.k8s.io/v1" || review.Kind != "AdmissionReview" || review.Response == nil {
		t.Fatalf("no review: %s", recorder.Body)
	}
	return review.Response
}

func TestInjects(t *testing.T) {
	var log bytes.Buffer
	h, registry := newHandler(&log)
	recorder := post(h, reviewOf(thanosPod), "application/json; charset=utf-8")
	if recorder.Code != http.StatusOK || recorder.Header().Get("Content-Type") != "application/json" {
		t.Errorf("status %d, content type %q", recorder.Code, recorder.Header().Get("Content-Type"))
	}
	response := answerOf(t, recorder)
	want := `[{"op":"add","path":"/metadata/annotations/s3-tls~1injected-by","value":"pod"},` +
		`{"op":"add","path":"/spec/volumes","value":[{"name":"s3-tls-cert","secret":{"secretName":"s3-tls-cert","items":[{"key":"ca.crt","path":"s3-ca.crt"}]}}]},` +
		`{"op":"add","path":"/spec/containers/0/volumeMounts","value":[{"name":"s3-tls-cert","readOnly":true,"mountPath":"/etc/ssl/certs/s3-ca.crt","subPath":"s3-ca.crt"}]},` +
		`{"op":"add","path":"/spec/containers/0/env","value":[{"name":"SSL_CERT_FILE","value":"/etc/ssl/certs/s3-ca.crt"}]}]`
	if diff := cmp.Diff(want, string(response.Patch)); diff != "" || !response.Allowed || response.UID != "u1" || *response.PatchType != admissionv1.PatchTypeJSONPatch {
		t.Errorf("response %+v, patch (-want +got)\n%s", response, diff)
	}
	if !strings.Contains(log.String(), `"msg"="injected" "namespace"="shop" "name"="thanos-" "source"="pod" "containers"=["thanos"] "dryRun"=false`) {
		t.Errorf("log %s", &log)
	}
	expected := "# HELP s3_tls_admissions_total Reviews answered, by decision (injected, skipped, refused, error), stable reason, and who opted in.\n" +
		"# TYPE s3_tls_admissions_total counter\n" +
		`s3_tls_admissions_total{decision="injected",reason="",source="pod"} 1` + "\n"
	if err := testutil.GatherAndCompare(registry, strings.NewReader(expected), "s3_tls_admissions_total"); err != nil {
		t.Error(err)
	}
}

func TestBadInput(t *testing.T) {
	deep := strings.Repeat(`[`, 20_000) + strings.Repeat(`]`, 20_000)
	const denied = 0 // not an HTTP error, but an admission response that refuses
	tests := map[string]struct {
		body, contentType string
		status            int
		text              string
	}{
		"not JSON":                {"hello", "application/json", 400, "not valid JSON"},
		"empty":                   {"", "application/json", 400, "not valid JSON"},
		"truncated":               {reviewOf(thanosPod)[:300], "application/json", 400, "not valid JSON"},
		"two reviews":             {reviewOf(thanosPod) + reviewOf(thanosPod), "application/json", 400, "not valid JSON"},
		"wrong content type":      {reviewOf(thanosPod), "text/plain", 400, "content type is not application/json"},
		"no content type":         {reviewOf(thanosPod), "", 400, "content type is not application/json"},
		"10 MiB":                  {reviewOf(`{"x":"` + strings.Repeat("x", 10<<20) + `"}`), "application/json", 413, "review is larger than 7340032 bytes"},
		"no request":              {`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}`, "application/json", 400, "the review has no request"},
		"request is null":         {`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":null}`, "application/json", 400, "the review has no request"},
		"no uid":                  {strings.Replace(reviewOf(thanosPod), `"uid":"u1",`, "", 1), "application/json", 400, "the request has no uid"},
		"another API version":     {strings.Replace(reviewOf(thanosPod), "admission.k8s.io/v1", "admission.k8s.io/v1beta1", 1), "application/json", 400, "not an AdmissionReview of admission.k8s.io/v1"},
		"a pod, not a review":     {thanosPod, "application/json", 400, "not an AdmissionReview of admission.k8s.io/v1"},
		"deep nesting":            {reviewOf(`{"metadata":` + deep + `}`), "application/json", 400, "decode review"},
		"duplicate key":           {strings.Replace(reviewOf(thanosPod), `"namespace":"shop"`, `"namespace":"shop","namespace":"kube-system"`, 1), "application/json", 400, `duplicate field "request.namespace"`},
		"duplicate annotation":    {reviewOf(`{"metadata":{"annotations":{"s3-tls/inject":"false","s3-tls/inject":"true"}}}`), "application/json", 400, "duplicate field"},
		"a pod of the wrong type": {reviewOf(`{"spec":{"containers":"secret-value"}}`), "application/json", 400, `field "request.object.spec.containers" is a JSON string`},
		"another kind":            {strings.Replace(reviewOf(thanosPod), `"kind":"Pod"`, `"kind":"Deployment"`, 1), "application/json", denied, "takes pods of v1 only"},
		"a subresource":           {strings.Replace(reviewOf(thanosPod), `"namespace":"shop"`, `"namespace":"shop","subResource":"ephemeralcontainers"`, 1), "application/json", denied, "takes pods of v1 only"},
		"another operation":       {strings.Replace(reviewOf(thanosPod), `"CREATE"`, `"UPDATE"`, 1), "application/json", denied, "takes CREATE only"},
		"no object":               {reviewOf("null"), "application/json", denied, "the request has no object"},
		"unknown namespace":       {strings.Replace(reviewOf(thanosPod), `"shop"`, `"gone"`, 1), "application/json", denied, `cannot read namespace "gone"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			h, registry := newHandler(&log)
			recorder := post(h, tt.body, tt.contentType)
			text := recorder.Body.String()
			if tt.status == denied {
				response := answerOf(t, recorder)
				if response.Allowed || response.UID != "u1" || response.Result.Code < 400 {
					t.Errorf("response %+v", response)
				}
				text = response.Result.Message
			} else if recorder.Code != tt.status {
				t.Errorf("status %d, want %d", recorder.Code, tt.status)
			}
			if !strings.Contains(text, tt.text) {
				t.Errorf("answer %q does not tell %q", text, tt.text)
			}
			if strings.Contains(log.String()+text, "secret-value") {
				t.Errorf("content of the pod is told: %s %s", text, &log)
			}
			if n := testutil.CollectAndCount(h.Metrics.admissions); n != 1 || testutil.ToFloat64(h.Metrics.admissions) != 1 {
				t.Errorf("%d series are counted", n)
			}
			families, err := registry.Gather()
			if err != nil || !strings.Contains(fmt.Sprint(families), `value:"error"`) {
				t.Errorf("not counted as an error: %v %v", families, err)
			}
		})
	}
}

func TestRefusesOtherMethods(t *testing.T) {
	h, _ := newHandler(nil)
	recorder := httptest.NewRecorder()
	h.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, Path, nil))
	if recorder.Code != http.StatusMethodNotAllowed || recorder.Header().Get("Allow") != "POST" {
		t.Errorf("status %d, Allow %q", recorder.Code, recorder.Header().Get("Allow"))
	}
}

// A key that differs from the field's name in case only is another key, as for
// the API server.
func TestKeysAreCaseSensitive(t *testing.T) {
	h, _ := newHandler(nil)
	response := answerOf(t, post(h, reviewOf(`{"Metadata":{"annotations":{"s3-tls/inject":"true"}},"spec":{"containers":[{"name":"a"}]}}`), "application/json"))
	if !response.Allowed || response.Patch != nil {
		t.Errorf("response %+v", response)
	}
}

// panicking has a fault.
type panicking struct{}

func (panicking) At(context.Context, string) ([]inject.Policy, error) { panic("secret-value") }

func TestPanicIsAnErrorThatTellsNothing(t *testing.T) {
	var log bytes.Buffer
	h, _ := newHandler(&log)
	h.Policies = panicking{}
	recorder := post(h, reviewOf(thanosPod), "application/json")
	if recorder.Code != http.StatusInternalServerError || strings.Contains(recorder.Body.String()+log.String(), "secret-value") {
		t.Errorf("status %d, body %s, log %s", recorder.Code, recorder.Body, &log)
	}
	if testutil.ToFloat64(h.Metrics.admissions) != 1 {
		t.Error("the panic is not counted")
	}
}

func TestClosingAsksClientsToConnectAnew(t *testing.T) {
	h, _ := newHandler(nil)
	h.Closing = func() bool { return true }
	if recorder := post(h, reviewOf(thanosPod), "application/json"); recorder.Header().Get("Connection") != "close" || recorder.Code != http.StatusOK {
		t.Errorf("Connection %q, status %d", recorder.Header().Get("Connection"), recorder.Code)
	}
}

func TestStandaloneDecidesByTheAnnotationAlone(t *testing.T) {
	h, _ := newHandler(nil)
	h.Namespaces = nil
	if response := answerOf(t, post(h, reviewOf(thanosPod), "application/json")); response.Patch == nil {
		t.Errorf("not injected: %+v", response)
	}
	silent := strings.Replace(thanosPod, "s3-tls/inject", "other", 1)
	if response := answerOf(t, post(h, reviewOf(silent), "application/json")); response.Patch != nil || !response.Allowed {
		t.Errorf("injected: %+v", response)
	}
}

// Whatever is sent gets an answer: an HTTP error, or a review with the uid of
// the request; never a panic, and never a patch for what is no review.
func FuzzServeHTTP(f *testing.F) {
	f.Add([]byte(reviewOf(thanosPod)))
	f.Add([]byte(reviewOf("null")))
	f.Add([]byte(reviewOf(`{"metadata":{"annotations":{"s3-tls/inject":"true","s3-tls/containers":"*"}},"spec":{"os":{"name":"linux"},"nodeSelector":{"a":"b"},"initContainers":[{"name":"i","command":["sh","-c","thanos \"store\" $(x"],"volumeMounts":[{"mountPath":"/etc"}]}],"containers":[{"name":"c","env":[{"name":"SSL_CERT_FILE"}]}],"volumes":[{"name":"v","secret":{"items":[{}]}},{"projected":{"sources":[{}]}}]}}`)))
	f.Add([]byte(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"1","object":{}}}`))
	f.Add([]byte("\xff{}"))
	h, _ := newHandler(nil)
	f.Fuzz(func(t *testing.T, body []byte) {
		recorder := post(h, string(body), "application/json")
		if recorder.Code == http.StatusInternalServerError {
			t.Fatalf("panic for %q", body)
		}
		if recorder.Code != http.StatusOK {
			if recorder.Code != http.StatusBadRequest {
				t.Fatalf("status %d", recorder.Code)
			}
			return
		}
		if response := answerOf(t, recorder); response.UID == "" || (!response.Allowed && response.Result.Message == "") {
			t.Fatalf("response %+v for %q", response, body)
		}
	})
}
