package cluster

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/s2"
	"google.golang.org/protobuf/encoding/protowire"
)

// Receive, store, compact, rule and sidecar reach the bucket when their pods are
// annotated, and not before. Query is left alone.
func TestThanos(t *testing.T) {
	t.Parallel()
	const namespace = "metrics"
	clean(t, namespace)
	blocks := newBucket(t, "thanos")
	apply(t, "manifests/thanos.yaml")
	giveCA(t, namespace, "secret", "generic", "s3-tls-cert")
	components := []struct{ workload, container string }{
		{"store", "store"}, {"compact", "compact"}, {"receive", "receive"}, {"rule", "rule"}, {"prometheus", "thanos-sidecar"},
	}

	writeSamples(t, namespace)
	for _, c := range components {
		eventually(t, 3*time.Minute, c.workload+" not to trust the storage", distrusts(namespace, c.workload+"-0", c.container))
	}
	if keys, err := blocks.keys(t.Context(), "*"); err != nil || len(keys) > 0 {
		t.Fatalf("the bucket holds %v before anything is injected (%v)", keys, err)
	}

	for _, c := range components {
		annotate(t, namespace, c.workload, `{"s3-tls/inject":"true"}`)
		if diff := cmp.Diff([]string{c.container}, injectedContainers(t, namespace, c.workload+"-0")); diff != "" {
			t.Errorf("containers of %s with the CA (-want +got):\n%s", c.workload, diff)
		}
	}
	sample := writeSamples(t, namespace)
	for _, uploaded := range []struct{ by, label string }{{"receive", "receive"}, {"rule", "rule"}, {"the sidecar", "prometheus"}} {
		eventually(t, 3*time.Minute, uploaded.by+" to upload a block", func(ctx context.Context) error {
			return hasBlock(ctx, blocks, func(b block) bool { return b.Thanos.Labels[uploaded.label] == "e2e" })
		})
	}
	eventually(t, 2*time.Minute, "store to serve the block to query", answers(namespace, sample))
	eventually(t, 4*time.Minute, "compact to compact blocks of receive", func(ctx context.Context) error {
		return hasBlock(ctx, blocks, func(b block) bool {
			return b.Compaction.Level >= 2 && b.Thanos.Source == "compactor" && b.Thanos.Labels["receive"] == "e2e"
		})
	})

	say(t, "opting in the whole namespace: query is left alone")
	kubectl(t, "label", "namespace", namespace, "s3-tls/inject=true")
	kubectl(t, "-n", namespace, "rollout", "restart", "deployment/query")
	kubectl(t, "-n", namespace, "rollout", "status", "deployment/query", "--timeout=2m")
	for query := range strings.FieldsSeq(kubectl(t, "-n", namespace, "get", "pods", "-l", "app=query", "-o", "name")) {
		if got := injectedContainers(t, namespace, strings.TrimPrefix(query, "pod/")); len(got) > 0 {
			t.Errorf("containers of %s with the CA: %v, want none", query, got)
		}
	}
}

// block is what the tests read of a block's meta.json.
type block struct {
	Compaction struct{ Level int }
	Thanos     struct {
		Labels map[string]string
		Source string
	}
}

func hasBlock(ctx context.Context, blocks bucket, match func(block) bool) error {
	keys, err := blocks.keys(ctx, "meta.json")
	if err != nil {
		return err
	}
	var all []block
	for _, key := range keys {
		var b block
		if err := blocks.readJSON(ctx, key, &b); err != nil {
			return err
		}
		all = append(all, b)
	}
	if !slices.ContainsFunc(all, match) {
		return fmt.Errorf("none of %d blocks", len(all))
	}
	return nil
}

// answers returns an error unless query, which asks store, has a sample of that time.
func answers(namespace string, sample time.Time) func(context.Context) error {
	return func(ctx context.Context) error {
		out, err := client.CoreV1().Services(namespace).ProxyGet("http", "query", "10902", "/api/v1/query",
			map[string]string{"query": "e2e_samples", "time": strconv.FormatInt(sample.Unix(), 10)}).DoRaw(ctx)
		if err == nil && !strings.Contains(string(out), `"__name__":"e2e_samples"`) {
			err = fmt.Errorf("query answered %s", out)
		}
		return err
	}
}

// writeSamples writes six hours of a series to receive, so that it cuts
// blocks at once, and returns when the first sample was.
func writeSamples(t *testing.T, namespace string) (first time.Time) {
	t.Helper()
	first = time.Now().Add(-6 * time.Hour).Truncate(time.Second)
	label := func(name, value string) []byte {
		return appendBytes(appendBytes(nil, 1, []byte(name)), 2, []byte(value))
	}
	series := appendBytes(nil, 1, label("__name__", "e2e_samples"))
	for i := range 19 {
		var sample []byte
		sample = protowire.AppendTag(sample, 1, protowire.Fixed64Type)
		sample = protowire.AppendFixed64(sample, math.Float64bits(float64(i)))
		sample = protowire.AppendTag(sample, 2, protowire.VarintType)
		sample = protowire.AppendVarint(sample, uint64(first.Add(time.Duration(i)*20*time.Minute).UnixMilli()))
		series = appendBytes(series, 2, sample)
	}
	body := s2.EncodeSnappy(nil, appendBytes(nil, 1, series)) // prometheus.WriteRequest
	eventually(t, 2*time.Minute, "receive to take samples", func(ctx context.Context) error {
		return post(ctx, namespace, "receive-0", "19291", "/api/v1/receive", "application/x-protobuf", body)
	})
	return first
}

// appendBytes appends a field of a protocol buffer.
func appendBytes(message []byte, field protowire.Number, value []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(message, field, protowire.BytesType), value)
}
