package webhook

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/inject"
)

// benchPod makes a pod of n containers as the API server sends it, with
// defaults filled in and managed fields.
func benchPod(n, argsPerContainer int) string {
	var containers []map[string]any
	for i := range n {
		args := []string{"store", "--objstore.config-file=/etc/thanos/objstore.yml"}
		for j := range argsPerContainer {
			args = append(args, fmt.Sprintf("--store.some-longer-flag-%d=/var/thanos/store/some/path/%d", j, i))
		}
		containers = append(containers, map[string]any{
			"name": fmt.Sprintf("thanos-%d", i), "image": "quay.io/thanos/thanos:v0.39.2", "args": args,
			"env":                      []map[string]any{{"name": "POD_NAME", "valueFrom": map[string]any{"fieldRef": map[string]any{"apiVersion": "v1", "fieldPath": "metadata.name"}}}},
			"volumeMounts":             []map[string]any{{"name": "data", "mountPath": "/var/thanos"}, {"name": "objstore", "mountPath": "/etc/thanos", "readOnly": true}},
			"livenessProbe":            map[string]any{"httpGet": map[string]any{"path": "/-/healthy", "port": 10902, "scheme": "HTTP"}, "periodSeconds": 10},
			"readinessProbe":           map[string]any{"httpGet": map[string]any{"path": "/-/ready", "port": 10902, "scheme": "HTTP"}, "periodSeconds": 10},
			"resources":                map[string]any{"requests": map[string]any{"cpu": "100m", "memory": "1Gi"}},
			"terminationMessagePath":   "/dev/termination-log",
			"terminationMessagePolicy": "File",
			"imagePullPolicy":          "IfNotPresent",
		})
	}
	spec := map[string]any{
		"containers": containers, "restartPolicy": "Always", "schedulerName": "default-scheduler",
		"volumes": []map[string]any{{"name": "data", "emptyDir": map[string]any{}}, {"name": "objstore", "secret": map[string]any{"secretName": "objstore"}}},
	}
	encoded, err := json.Marshal(spec)
	if err != nil {
		panic(err)
	}
	fields := strings.ReplaceAll(string(encoded), `"name"`, `"f:name"`) // as large as managed fields are
	return fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","metadata":{"generateName":"thanos-","annotations":{"s3-tls/inject":"true"},
"managedFields":[{"manager":"kube-controller-manager","operation":"Update","fieldsV1":{"f:spec":%s}}]},"spec":%s}`, fields, encoded)
}

func BenchmarkServeHTTP(b *testing.B) {
	pods := map[string]string{
		"small":        benchPod(1, 0),
		"typical":      benchPod(3, 25),
		"60containers": benchPod(60, 5),
	}
	for _, name := range []string{"small", "typical", "60containers"} {
		body := reviewOf(pods[name])
		b.Run(fmt.Sprintf("%s/%dKB", name, len(body)>>10), func(b *testing.B) {
			h := &Handler{
				Namespaces: fakeNamespaces{"shop": inject.Namespace{Name: "shop"}},
				Metrics:    NewMetrics(prometheus.NewRegistry()), Log: logr.Discard(),
			}
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				request := httptest.NewRequest(http.MethodPost, Path, strings.NewReader(body))
				request.Header.Set("Content-Type", "application/json")
				recorder := &discard{header: http.Header{}}
				h.ServeHTTP(recorder, request)
				if recorder.status != 0 {
					b.Fatalf("status %d", recorder.status)
				}
			}
		})
	}
}

// discard is a response that nobody reads.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(status int)      { d.status = status }
func (d *discard) Write(p []byte) (int, error) { return io.Discard.Write(p) }
