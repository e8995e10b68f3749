package apiserver

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// Another webhook, called after ours, adds a container: the injector is asked
// again and gives the container the CA.
func TestReinvocationInjectsContainersAddedLater(t *testing.T) {
	c, w := newClient(t)
	namespace := newNamespace(t, c, nil, nil)
	putCA(t, c, namespace, certificate(t, true, time.Now().AddDate(1, 0, 0)))
	var mu sync.Mutex
	calls := 0
	late := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		calls++
		fmt.Fprint(rw, lateAnswer(r, calls == 1))
	}))
	defer late.Close()
	configuration := &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "z-late"},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name: "late.example.com", AdmissionReviewVersions: []string{"v1"}, SideEffects: new(admissionregistrationv1.SideEffectClassNone),
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": namespace}},
			ClientConfig:      admissionregistrationv1.WebhookClientConfig{URL: new(late.URL), CABundle: certificatePEM(late.Certificate().Raw)},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
			}},
		}},
	}
	if err := c.Create(t.Context(), configuration); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Delete(context.WithoutCancel(t.Context()), configuration); err != nil {
			t.Error(err)
		}
	}()
	var pod *corev1.Pod
	waitFor(t, "the second webhook to be called", func() bool {
		pod = newPod(namespace, optIn)
		pod.Name, pod.GenerateName = "", "late-"
		if err := c.Create(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
		return len(pod.Spec.Containers) == 2
	})
	for i := range pod.Spec.Containers {
		if !carriesCA(&pod.Spec.Containers[i]) {
			t.Errorf("container %q does not carry the CA", pod.Spec.Containers[i].Name)
		}
	}
	if len(pod.Spec.Volumes) != 1 || len(w.texts) != 0 {
		t.Errorf("volumes %+v, warnings %q", pod.Spec.Volumes, w.texts)
	}
}

// The certificate is renewed twice under a steady stream of creations; not one fails.
func TestRenewalLosesNoAdmission(t *testing.T) {
	c, _ := newClient(t)
	namespace := newNamespace(t, c, nil, nil)
	first := servedSerial(t)
	stream := startStream(t, c, namespace)
	for range 2 {
		serial := servedSerial(t)
		if err := cluster.Renew(t.Context()); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "the server to serve the new certificate", func() bool { return servedSerial(t) != serial })
	}
	created := stream.stop(t)
	if created < 20 || servedSerial(t) == first {
		t.Errorf("%d pods created; first and last serial %s, %s", created, first, servedSerial(t))
	}
	t.Logf("%d pods created over two renewals", created)
}

func TestDrainFinishesWhatIsInFlightAndTurnsUnready(t *testing.T) {
	c, _ := newClient(t)
	namespace := newNamespace(t, c, nil, nil)
	stream := startStream(t, c, namespace)
	if err := injector.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the server to turn unready", func() bool {
		err := injector.Ready(t.Context())
		return err != nil && strings.Contains(err.Error(), "draining")
	})
	created := stream.stop(t) // within the drain time
	if err := injector.Wait(); err != nil {
		t.Errorf("the server ended with %v, want status 0", err)
	}
	t.Logf("%d pods created while draining", created)
	t.Run("opted-in pods are refused clearly, all others are created", func(t *testing.T) { testOutage(t, c, namespace) })
	restartInjector(t)
	waitFor(t, "pods to be injected again", func() bool {
		pod := newPod(namespace, optIn)
		pod.Name, pod.GenerateName = "", "after-"
		return c.Create(t.Context(), pod) == nil && carriesCA(&pod.Spec.Containers[0])
	})
}

func testOutage(t *testing.T, c client.Client, namespace string) {
	pod := newPod(namespace, optIn)
	err := c.Create(t.Context(), pod)
	if err == nil || !strings.Contains(err.Error(), `failed calling webhook "pod.inject.s3-tls"`) {
		t.Errorf("an opted-in pod without an injector: %v", err)
	}
	labelled := newNamespace(t, c, map[string]string{"s3-tls/inject": "true"}, nil)
	err = c.Create(t.Context(), newPod(labelled, nil))
	if err == nil || !strings.Contains(err.Error(), `failed calling webhook "namespace.inject.s3-tls"`) {
		t.Errorf("an S3 client in a labelled namespace without an injector: %v", err)
	}
	others := map[string]*corev1.Pod{
		"not opted in":                         newPod(namespace, nil),
		"opted out":                            newPod(labelled, func(p *corev1.Pod) { p.Annotations["s3-tls/inject"] = "false" }),
		"no S3 client in a labelled namespace": newPod(labelled, func(p *corev1.Pod) { p.Name = "query"; p.Spec.Containers[0].Args = []string{"query"} }),
		"of the injector itself":               newPod("s3-tls-injector", func(p *corev1.Pod) { optIn(p); p.Spec = restricted(p.Spec) }),
		"of kube-system":                       newPod("kube-system", optIn),
	}
	for name, pod := range others {
		if err := c.Create(t.Context(), pod); err != nil {
			t.Errorf("a pod %s: %v", name, err)
		}
	}
}

// restricted makes a spec fit for the Pod Security level of the injector's namespace.
func restricted(spec corev1.PodSpec) corev1.PodSpec {
	spec.SecurityContext = &corev1.PodSecurityContext{
		RunAsNonRoot: new(true), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	spec.Containers[0].SecurityContext = &corev1.SecurityContext{
		AllowPrivilegeEscalation: new(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}
	return spec
}

// The Deployment's own pods pass the Pod Security level of their namespace.
func TestDeploymentPassesRestrictedPodSecurity(t *testing.T) {
	c, w := newClient(t)
	template, _, err := cluster.Kubectl(t.Context(), "", "-n", "s3-tls-injector", "get", "deployment", "s3-tls-injector", "-o", "jsonpath={.spec.template}")
	if err != nil {
		t.Fatal(err)
	}
	pod := podFromTemplate(t, template, types.NamespacedName{Namespace: "s3-tls-injector", Name: "probe"})
	if err := c.Create(t.Context(), pod, client.DryRunAll); err != nil || len(w.texts) > 0 {
		t.Errorf("error %v, warnings %q", err, w.texts)
	}
}

func restartInjector(t *testing.T) {
	t.Helper()
	var err error
	if injector, err = cluster.StartInjector(t.Context(), program, injector.Port, "--drain=1s"); err != nil {
		t.Fatal(err)
	}
}

// stream creates opted-in pods one after the other until it is stopped.
type stream struct {
	cancel  func()
	done    chan struct{}
	created int
	failed  error
}

func startStream(t *testing.T, c client.Client, namespace string) *stream {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	s := &stream{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		for ctx.Err() == nil && s.failed == nil {
			pod := newPod(namespace, optIn)
			pod.Name, pod.GenerateName = "", "stream-"
			err := c.Create(context.WithoutCancel(ctx), pod)
			switch {
			case err != nil:
				s.failed = err
			case !carriesCA(&pod.Spec.Containers[0]):
				s.failed = fmt.Errorf("pod %s was not injected", pod.Name)
			default:
				s.created++
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	return s
}

func (s *stream) stop(t *testing.T) int {
	t.Helper()
	s.cancel()
	<-s.done
	if s.failed != nil {
		t.Errorf("after %d pods: %v", s.created, s.failed)
	}
	return s.created
}

func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited a minute for %s", what)
		}
	}
}

// servedSerial returns the serial number of the certificate that the server shows.
func servedSerial(t *testing.T) string {
	t.Helper()
	dialer := &tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}
	conn, err := dialer.DialContext(t.Context(), "tcp", "127.0.0.1:"+injector.Port)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.String()
}
