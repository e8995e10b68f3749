package cluster

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Whatever a pod mounts where the CA file would go, its container starts and
// trusts the storage.
func TestConflicts(t *testing.T) {
	t.Parallel()
	const namespace = "conflicts"
	clean(t, namespace)
	apply(t, "manifests/conflicts.yaml")
	giveCA(t, namespace, "secret", "generic", "s3-tls-cert") // the kubelet tries again where it was faster

	eventually(t, time.Minute, "the pod that did not opt in to fail", phase(namespace, "not-injected", corev1.PodFailed))
	eventually(t, time.Minute, "it to say why", distrusts(namespace, "not-injected", "probe"))
	for _, pod := range []string{"configmap-at-etc-ssl-certs", "emptydir-at-etc-ssl", "read-only-parent", "run-is-mounted-too"} {
		eventually(t, 3*time.Minute, pod+" to trust the storage", succeeded(namespace, pod))
	}
}

// A pod waits for a CA that is not there yet, the kubelet says for what, and it
// starts when the CA comes.
func TestWaitingForTheCA(t *testing.T) {
	t.Parallel()
	const namespace = "waiting"
	clean(t, namespace)
	apply(t, "manifests/waiting.yaml")

	eventually(t, time.Minute, "the kubelet to name the Secret", event(namespace, "secret-comes-later", "FailedMount", `secret "later" not found`))
	eventually(t, time.Minute, "the kubelet to name the key", event(namespace, "key-comes-later", "FailedMount", "references non-existent secret key: ca.crt"))
	for _, pod := range []string{"secret-comes-later", "key-comes-later"} {
		if err := phase(namespace, pod, corev1.PodPending)(t.Context()); err != nil {
			t.Error(err)
		}
	}

	giveCA(t, namespace, "secret", "generic", "later")
	kubectl(t, "-n", namespace, "delete", "secret", "without-the-key")
	giveCA(t, namespace, "secret", "generic", "without-the-key")
	for _, pod := range []string{"secret-comes-later", "key-comes-later"} {
		eventually(t, 4*time.Minute, pod+" to start and trust the storage", succeeded(namespace, pod))
	}
}

// The roots in an image's own bundle stay trusted beside the storage's CA.
func TestSystemRoots(t *testing.T) {
	t.Parallel()
	const namespace = "system-roots"
	clean(t, namespace)
	apply(t, "manifests/public-host.yaml")
	giveCA(t, namespace, "secret", "generic", "s3-tls-cert")
	kubectl(t, "-n", namespace, "wait", "--for=condition=Ready", "--timeout=1m", "pod/public")
	kubectl(t, "apply", "-f", "manifests/system-roots.yaml")

	eventually(t, time.Minute, "the pod that did not opt in to fail", phase(namespace, "not-injected", corev1.PodFailed))
	out, err := logsOf(t.Context(), namespace, "not-injected", "probe")
	if err != nil || !strings.Contains(out, "trusted: https://public.system-roots.svc/") || !strings.Contains(out, untrusted) {
		t.Errorf("without injection it should trust the public host alone (%v):\n%s", err, out)
	}
	eventually(t, time.Minute, "the injected pod to trust both", succeeded(namespace, "injected"))
	if got := injectedContainers(t, namespace, "injected"); len(got) != 1 {
		t.Errorf("containers with the CA: %v, want one", got)
	}
}
