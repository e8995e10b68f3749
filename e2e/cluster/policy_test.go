package cluster

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// One policy makes Thanos and Tempo trust the storage, in namespaces that know
// nothing of it; a namespace that opted out stays as it was. The other tests wait:
// the policy is about their pods too.
func TestPolicy(t *testing.T) {
	t.Cleanup(func() {
		if _, err := runKubectl(context.Background(), "", "delete", "injectionpolicy", "everything", "--ignore-not-found"); err != nil {
			t.Error(err)
		}
	})
	for _, namespace := range []string{"policy-metrics", "policy-traces", "policy-out"} {
		clean(t, namespace)
	}
	newBucket(t, "thanos")
	newBucket(t, "tempo")
	apply(t, "manifests/policy-pods.yaml")
	for _, namespace := range []string{"policy-metrics", "policy-traces", "policy-out"} {
		giveCA(t, namespace, "configmap", "storage-ca")
	}
	eventually(t, 3*time.Minute, "store not to trust the storage", distrusts("policy-metrics", "store-0", "store"))
	eventually(t, 3*time.Minute, "Tempo not to trust the storage", distrusts("policy-traces", "tempo-0", "tempo"))

	kubectl(t, "apply", "-f", "manifests/policy.yaml")
	kubectl(t, "wait", "--for=condition=Ready", "--timeout=1m", "injectionpolicy/everything")

	for _, p := range []struct{ namespace, pod, container string }{{"policy-metrics", "store-0", "store"}, {"policy-traces", "tempo-0", "tempo"}} {
		replace(t, p.namespace, p.pod)
		if diff := cmp.Diff([]string{p.container}, injectedContainers(t, p.namespace, p.pod)); diff != "" {
			t.Errorf("containers of %s with the CA (-want +got):\n%s", p.pod, diff)
		}
	}
	kubectl(t, "-n", "policy-out", "delete", "pod", "store-0", "--timeout=1m")
	kubectl(t, "-n", "policy-out", "wait", "--for=create", "--timeout=1m", "pod/store-0")
	eventually(t, 3*time.Minute, "store in the namespace that opted out not to trust the storage", distrusts("policy-out", "store-0", "store"))
	if got := injectedContainers(t, "policy-out", "store-0"); len(got) > 0 {
		t.Errorf("containers with the CA: %v, want none", got)
	}
}
