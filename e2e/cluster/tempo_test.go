package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Tempo stores ten traces and a new pod finds them in the bucket.
func TestTempo(t *testing.T) {
	t.Parallel()
	const namespace = "traces"
	clean(t, namespace)
	blocks := newBucket(t, "tempo")
	apply(t, "manifests/tempo.yaml")
	giveCA(t, namespace, "configmap", "storage-ca")

	eventually(t, 2*time.Minute, "Tempo not to trust the storage", distrusts(namespace, "tempo-0", "tempo"))
	annotate(t, namespace, "tempo", `{"s3-tls/inject":"true","s3-tls/configmap":"storage-ca","s3-tls/key":"ca.crt"}`)

	service := sendTraces(t, namespace, "tempo")
	eventually(t, 2*time.Minute, "the traces to reach the bucket", holdsTraces(blocks))
	replace(t, namespace, "tempo-0")
	findTraces(t, namespace, "tempo-0", service)
}

// Nothing can be set on the pods that tempo-operator makes: the namespace opts in.
func TestTempoOperator(t *testing.T) {
	t.Parallel()
	const namespace = "operated-traces"
	clean(t, namespace)
	blocks := newBucket(t, "operated-tempo")
	kubectl(t, "apply", "--server-side", "-f", filepath.Join(assets, "tempo-operator-config"))
	kubectl(t, "apply", "-f", "manifests/tempo-operator.yaml")
	kubectl(t, "-n", "tempo-operator", "rollout", "status", "--timeout=2m", "deployment/tempo-operator")
	kubectl(t, "delete", "persistentvolume", namespace, "--ignore-not-found", "--timeout=1m") // its claim went with the namespace
	apply(t, "manifests/tempo-monolithic.yaml")
	giveCA(t, namespace, "secret", "generic", "s3-tls-cert")

	eventually(t, 3*time.Minute, "the operated Tempo not to trust the storage", distrusts(namespace, "tempo-e2e-0", "tempo"))
	kubectl(t, "label", "namespace", namespace, "s3-tls/inject=true")
	replace(t, namespace, "tempo-e2e-0")
	if diff := cmp.Diff([]string{"tempo"}, injectedContainers(t, namespace, "tempo-e2e-0")); diff != "" {
		t.Errorf("containers with the CA (-want +got):\n%s", diff)
	}
	kubectl(t, "-n", namespace, "wait", "--for=condition=Ready", "--timeout=2m", "tempomonolithic/e2e")

	service := sendTraces(t, namespace, "tempo-e2e")
	eventually(t, 2*time.Minute, "the traces to reach the bucket", holdsTraces(blocks))
	findTraces(t, namespace, "tempo-e2e-0", service)
	kubectl(t, "-n", namespace, "delete", "tempomonolithic", "e2e", "--timeout=1m") // while its operator runs
}

const traces = 10

// sendTraces sends ten traces of a service that is named after now.
func sendTraces(t *testing.T, namespace, target string) (service string) {
	t.Helper()
	service = "e2e-" + strconv.FormatInt(time.Now().Unix(), 10)
	job, err := os.ReadFile("manifests/telemetrygen.yaml")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer("value: tempo}", "value: "+target+"}", "--service=e2e", "--service="+service).Replace(string(job))
	if _, err := runKubectl(t.Context(), text, "-n", namespace, "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	say(t, "sending %d traces of %s", traces, service)
	kubectl(t, "-n", namespace, "wait", "--for=condition=Complete", "--timeout=2m", "job/telemetrygen")
	return service
}

// holdsTraces returns an error until the blocks of the bucket hold ten traces.
func holdsTraces(blocks bucket) func(context.Context) error {
	return func(ctx context.Context) error {
		keys, err := blocks.keys(ctx, "meta.json")
		if err != nil {
			return err
		}
		held := 0
		for _, key := range keys {
			var meta struct{ TotalObjects int }
			if err := blocks.readJSON(ctx, key, &meta); err != nil {
				return err
			}
			held += meta.TotalObjects
		}
		if held < traces {
			return fmt.Errorf("%d blocks hold %d traces", len(keys), held)
		}
		return nil
	}
}

// findTraces searches the blocks of the bucket: with an end before now, Tempo
// looks nowhere else.
func findTraces(t *testing.T, namespace, pod, service string) {
	t.Helper()
	eventually(t, 2*time.Minute, "the search to find the traces in the bucket", func(ctx context.Context) error {
		now := time.Now().Unix()
		out, err := get(ctx, namespace, pod, "3200", "/api/search", map[string]string{
			"q":     `{resource.service.name="` + service + `"}`,
			"start": strconv.FormatInt(now-1800, 10),
			"end":   strconv.FormatInt(now-1, 10),
			"limit": "100",
		})
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		var found struct {
			Traces  []json.RawMessage
			Metrics struct{ TotalBlocks int }
		}
		if err := json.Unmarshal(out, &found); err != nil {
			return err
		}
		if len(found.Traces) != traces || found.Metrics.TotalBlocks == 0 {
			return fmt.Errorf("found %d traces in %d blocks", len(found.Traces), found.Metrics.TotalBlocks)
		}
		return nil
	})
}
