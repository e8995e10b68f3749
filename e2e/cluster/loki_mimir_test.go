package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Loki flushes a line to the bucket, and a new pod reads it from there.
func TestLoki(t *testing.T) {
	t.Parallel()
	const namespace, pod = "logs", "loki-0"
	clean(t, namespace)
	chunks := newBucket(t, "loki")
	apply(t, "manifests/loki.yaml")
	giveCA(t, namespace, "secret", "generic", "s3-tls-cert")

	eventually(t, 3*time.Minute, "Loki not to trust the storage", distrusts(namespace, pod, "loki"))
	annotate(t, namespace, "loki", `{"s3-tls/inject":"true"}`)

	now := strconv.FormatInt(time.Now().UnixNano(), 10)
	line := "line-" + now
	push, err := json.Marshal(map[string]any{"streams": []any{map[string]any{
		"stream": map[string]string{"job": "e2e"}, "values": [][]string{{now, line}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "Loki to take a line", func(ctx context.Context) error {
		return post(ctx, namespace, pod, "3100", "/loki/api/v1/push", "application/json", push)
	})
	replace(t, namespace, pod) // it flushes its chunks and uploads its index when it ends
	eventually(t, time.Minute, "the index to be in the bucket", chunks.has("*.tsdb.gz"))
	eventually(t, 2*time.Minute, "Loki to read the line from the bucket", func(ctx context.Context) error {
		out, err := get(ctx, namespace, pod, "3100", "/loki/api/v1/query_range", map[string]string{"query": `{job="e2e"}`, "since": "1h"})
		if err == nil && !strings.Contains(string(out), line) {
			err = fmt.Errorf("it answers %s", out)
		}
		return err
	})
}

// Mimir flushes a sample to the bucket, and a new pod reads it from there.
func TestMimir(t *testing.T) {
	t.Parallel()
	const namespace, pod = "mimir", "mimir-0"
	clean(t, namespace)
	blocks := newBucket(t, "mimir-blocks")
	apply(t, "manifests/mimir.yaml")
	giveCA(t, namespace, "secret", "generic", "s3-tls-cert")

	eventually(t, 3*time.Minute, "Mimir not to trust the storage", distrusts(namespace, pod, "mimir"))
	annotate(t, namespace, "mimir", `{"s3-tls/inject":"true"}`)

	now := time.Now()
	sample := fmt.Sprintf(`{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"e2e_gauge","gauge":{"dataPoints":[`+
		`{"timeUnixNano":"%d","asDouble":42}]}}]}]}]}`, now.UnixNano())
	eventually(t, time.Minute, "Mimir to take a sample", func(ctx context.Context) error {
		return post(ctx, namespace, pod, "8080", "/otlp/v1/metrics", "application/json", []byte(sample))
	})
	eventually(t, 2*time.Minute, "Mimir to upload its block", func(ctx context.Context) error {
		if out, err := get(ctx, namespace, pod, "8080", "/ingester/flush", map[string]string{"wait": "true"}); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return blocks.has("meta.json")(ctx)
	})
	replace(t, namespace, pod)
	eventually(t, 3*time.Minute, "Mimir to read the sample from the bucket", func(ctx context.Context) error {
		out, err := get(ctx, namespace, pod, "8080", "/prometheus/api/v1/query",
			map[string]string{"query": "e2e_gauge", "time": strconv.FormatInt(now.Unix()+1, 10)})
		if err == nil && !strings.Contains(string(out), `"42"`) {
			err = fmt.Errorf("it answers %s", out)
		}
		return err
	})
}
