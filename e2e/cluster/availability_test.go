package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/s3-tls-injector/s3-tls-injector/e2e/localcluster"
)

// While twenty opted-in pods a second are created, an update of the injector, the
// loss of a replica, announced or not, and the renewal of its certificate refuse
// none and miss none.
func TestNoFailedAdmissions(t *testing.T) {
	const namespace = "load"
	clean(t, namespace)
	kubectl(t, "create", "namespace", namespace)
	for _, disturbance := range []struct {
		name string
		do   func(*testing.T)
	}{
		{"rolling update", func(t *testing.T) {
			old := injectorPods(t)
			kubectl(t, "-n", injectorName, "rollout", "restart", "deployment/"+injectorName)
			kubectl(t, "-n", injectorName, "rollout", "status", "--timeout=3m", "deployment/"+injectorName)
			for _, pod := range old { // they go on serving for a while
				kubectl(t, "-n", injectorName, "wait", "--for=delete", "--timeout=2m", "pod/"+pod.Name)
			}
		}},
		{"eviction of a replica", evictReplica},
		{"loss of a replica", func(t *testing.T) {
			lost := injectorPods(t)[0]
			kubectl(t, "-n", injectorName, "delete", "pod", lost.Name, "--force", "--grace-period=0", "--timeout=1m")
			awaitReplicas(t, lost.UID)
		}},
		{"renewal of the certificate", renewCertificate},
	} {
		t.Run(disturbance.name, func(t *testing.T) {
			result := underLoad(t, namespace, func() { disturbance.do(t) })
			say(t, "%d pods created in %s, the slowest in %s", result.created, result.took.Round(time.Second), result.slowest.Round(time.Millisecond))
			if wanted := int(result.took.Seconds() * podsPerSecond * 0.9); result.created < wanted {
				t.Errorf("only %d pods were created, want %d a second in %s", result.created, podsPerSecond, result.took)
			}
			if len(result.failures) > 0 {
				t.Errorf("%d of %d pods failed: %v", len(result.failures), result.created, errors.Join(result.failures...))
			}
		})
	}
}

// evictReplica evicts a pod of the injector, as a drain of its node does, and
// waits until another one is ready.
func evictReplica(t *testing.T) {
	t.Helper()
	pods := injectorPods(t)
	eviction := &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: injectorName, Name: pods[0].Name}}
	if err := client.PolicyV1().Evictions(injectorName).Evict(t.Context(), eviction); err != nil {
		t.Fatal(err)
	}
	kubectl(t, "-n", injectorName, "wait", "--for=delete", "--timeout=2m", "pod/"+pods[0].Name)
	awaitReplicas(t, pods[0].UID)
}

// awaitReplicas waits for two ready replicas, none of them a lost one.
func awaitReplicas(t *testing.T, lost ...types.UID) {
	t.Helper()
	eventually(t, 3*time.Minute, "two other replicas to be ready", func(ctx context.Context) error {
		pods, err := client.CoreV1().Pods(injectorName).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=" + injectorName})
		if err != nil {
			return err
		}
		ready := 0
		for _, pod := range pods.Items {
			isReady := slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
				return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
			})
			if isReady && pod.DeletionTimestamp == nil && !slices.Contains(lost, pod.UID) {
				ready++
			}
		}
		if ready != 2 {
			return fmt.Errorf("%d are ready", ready)
		}
		return nil
	})
}

// renewCertificate makes cert-manager issue the serving certificate again, as
// `cmctl renew` does, and waits until every replica serves the new one.
func renewCertificate(t *testing.T) {
	t.Helper()
	before := servingCertificate(t.Context(), t)
	eventually(t, time.Minute, "cert-manager to take the renewal", func(ctx context.Context) error {
		return localcluster.RequestRenewal(ctx, certManager, injectorName, injectorName)
	})
	eventually(t, time.Minute, "cert-manager to issue the certificate", func(ctx context.Context) error {
		if bytes.Equal(before, servingCertificate(ctx, t)) {
			return errors.New("the Secret still holds the old one")
		}
		return nil
	})
	after := servingCertificate(t.Context(), t)
	for _, pod := range injectorPods(t) {
		address := portForward(t, injectorName, "pod/"+pod.Name, "9443")
		eventually(t, 4*time.Minute, pod.Name+" to serve the new certificate", func(ctx context.Context) error {
			served, err := servedCertificate(ctx, address)
			if err == nil && !bytes.Equal(served, after) {
				err = errors.New("it serves the old one")
			}
			return err
		})
	}
}

// servingCertificate returns the leaf of the Secret, as DER.
func servingCertificate(ctx context.Context, t *testing.T) []byte {
	t.Helper()
	secret, err := client.CoreV1().Secrets(injectorName).Get(ctx, localcluster.ServingSecret, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		t.Fatal(err)
	}
	return pair.Leaf.Raw
}

// servedCertificate returns the leaf that a server shows, as DER.
func servedCertificate(ctx context.Context, address string) ([]byte, error) {
	var leaf *x509.Certificate
	dialer := &tls.Dialer{Config: &tls.Config{
		InsecureSkipVerify: true, // only looks at what is served
		VerifyConnection: func(state tls.ConnectionState) error {
			leaf = state.PeerCertificates[0]
			return nil
		},
	}}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return leaf.Raw, conn.Close()
}

func injectorPods(t *testing.T) []corev1.Pod {
	t.Helper()
	pods, err := client.CoreV1().Pods(injectorName).List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=" + injectorName})
	if err != nil {
		t.Fatal(err)
	}
	running := slices.DeleteFunc(pods.Items, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil })
	if len(running) == 0 {
		t.Fatal("no replica of the injector runs")
	}
	return running
}

// load is what became of the pods that were created.
type load struct {
	mu       sync.Mutex
	created  int
	took     time.Duration
	slowest  time.Duration
	failures []error
}

const podsPerSecond = 20

// underLoad creates twenty pods a second before, while and after do works. No
// scheduler takes them.
func underLoad(t *testing.T, namespace string, do func()) *load {
	t.Helper()
	text, err := os.ReadFile("manifests/pause.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var pod corev1.Pod
	if err := yaml.Unmarshal(text, &pod); err != nil {
		t.Fatal(err)
	}
	pod.Name, pod.GenerateName = "", "load-"
	pod.Annotations = map[string]string{"s3-tls/inject": "true"}
	pod.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "e2e.s3-tls/never"}}

	var l load
	var running sync.WaitGroup
	stop, started := make(chan struct{}), time.Now()
	running.Go(func() {
		ticker := time.NewTicker(time.Second / podsPerSecond)
		defer ticker.Stop()
		for {
			select {
			case <-stop:
				return
			case <-ticker.C:
				running.Go(func() { l.create(t.Context(), namespace, &pod) })
			}
		}
	})
	const margin = 2 * time.Second
	time.Sleep(margin)
	func() {
		defer func() {
			time.Sleep(margin)
			close(stop)
			l.took = time.Since(started)
			running.Wait()
		}()
		do()
	}()
	return &l
}

func (l *load) create(ctx context.Context, namespace string, pod *corev1.Pod) {
	started := time.Now()
	created, err := client.CoreV1().Pods(namespace).Create(ctx, pod, metav1.CreateOptions{})
	took := time.Since(started)
	if err == nil && !slices.ContainsFunc(created.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == "s3-tls-cert" }) {
		err = fmt.Errorf("pod %s was not injected", created.Name)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.created++
	l.slowest = max(l.slowest, took)
	if err != nil {
		l.failures = append(l.failures, fmt.Errorf("%s: %w", started.Format("15:04:05.000"), err))
	}
}

// With no replica left, opted-in pods are refused with a clear message and every
// other pod starts. When the replicas come back, so do the pods that waited.
func TestOutage(t *testing.T) {
	clean(t, "outage")
	apply(t, "manifests/outage.yaml")
	t.Cleanup(func() {
		for _, args := range [][]string{
			{"-n", injectorName, "scale", "deployment/" + injectorName, "--replicas=2"},
			{"-n", injectorName, "rollout", "status", "--timeout=3m", "deployment/" + injectorName},
			{"delete", "namespace", "outage-labelled", "--ignore-not-found", "--wait=false"},
		} {
			if _, err := runKubectl(context.Background(), "", args...); err != nil {
				t.Error(err)
			}
		}
	})
	giveCA(t, "outage", "secret", "generic", "s3-tls-cert")

	say(t, "ending every replica of the injector")
	kubectl(t, "-n", injectorName, "scale", "deployment/"+injectorName, "--replicas=0")
	kubectl(t, "-n", injectorName, "wait", "--for=delete", "--timeout=2m", "pod", "-l", "app.kubernetes.io/name="+injectorName)

	out, err := runKubectl(t.Context(), "", "-n", "outage", "run", "refused", "--image=pause:e2e", "--annotations=s3-tls/inject=true",
		"--overrides="+restrictedPod)
	switch {
	case err == nil:
		t.Errorf("an opted-in pod was created while the injector was down: %s", out)
	case !strings.Contains(err.Error(), `failed calling webhook "pod.inject.s3-tls"`):
		t.Errorf("the refusal does not name the webhook: %v", err)
	default:
		say(t, "an opted-in pod is refused: %v", err)
	}
	out, err = runKubectl(t.Context(), "", "apply", "-f", "manifests/opted-in-by-label.yaml")
	if err == nil || !strings.Contains(err.Error(), `failed calling webhook "namespace.inject.s3-tls"`) {
		t.Errorf("an S3 client in a labelled namespace is not refused: %s %v", out, err)
	}
	kubectl(t, "-n", "outage", "apply", "-f", "manifests/opted-in.yaml") // a Deployment, whose ReplicaSet tries again
	for _, namespace := range []string{"outage", "outage-labelled"} {
		kubectl(t, "-n", namespace, "apply", "-f", "manifests/pause.yaml")
		eventually(t, time.Minute, "the bystander in "+namespace+" to run", phase(namespace, "bystander", corev1.PodRunning))
	}
	say(t, "restarting kube-system")
	kubectl(t, "-n", "kube-system", "rollout", "restart", "deployment/coredns")
	kubectl(t, "-n", "kube-system", "rollout", "status", "--timeout=2m", "deployment/coredns")

	say(t, "starting the injector again")
	kubectl(t, "-n", injectorName, "scale", "deployment/"+injectorName, "--replicas=2")
	kubectl(t, "-n", injectorName, "rollout", "status", "--timeout=3m", "deployment/"+injectorName)
	kubectl(t, "-n", "outage", "rollout", "status", "--timeout=3m", "deployment/opted-in")
	pod := strings.TrimPrefix(strings.TrimSpace(kubectl(t, "-n", "outage", "get", "pods", "-l", "app=opted-in", "-o", "name")), "pod/")
	if got := injectedContainers(t, "outage", pod); len(got) != 1 {
		t.Errorf("containers with the CA: %v, want one", got)
	}

	say(t, "killing every replica: the Deployment alone brings them back")
	var lost []types.UID
	for _, pod := range injectorPods(t) {
		lost = append(lost, pod.UID)
	}
	kubectl(t, "-n", injectorName, "delete", "pod", "--all", "--force", "--grace-period=0", "--timeout=1m")
	awaitReplicas(t, lost...)
}

const restrictedPod = `{"spec":{"securityContext":{"runAsNonRoot":true,"seccompProfile":{"type":"RuntimeDefault"}},"containers":[{"name":"refused",` +
	`"image":"pause:e2e","imagePullPolicy":"Never","securityContext":{"allowPrivilegeEscalation":false,"capabilities":{"drop":["ALL"]}}}]}}`
