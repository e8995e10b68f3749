package apiserver

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/s3-tls-injector/s3-tls-injector/e2e/localcluster"
)

const thanosImage = "quay.io/thanos/thanos:v0.39.2"

// newNamespace creates a namespace of the test's own.
func newNamespace(t *testing.T, c client.Client, labels, annotations map[string]string) string {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-", Labels: labels, Annotations: annotations}}
	if err := c.Create(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	return namespace.Name
}

// newPod is a minimal Thanos store, with one tweak.
func newPod(namespace string, tweak func(*corev1.Pod)) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "thanos-store-0", Annotations: map[string]string{}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "thanos-store", Image: thanosImage, Args: []string{"store", "--objstore.config-file=/etc/thanos/objstore.yml"},
		}}},
	}
	if tweak != nil {
		tweak(pod)
	}
	return pod
}

func optIn(pod *corev1.Pod) { pod.Annotations["s3-tls/inject"] = "true" }

// carriesCA tells whether a container has mount and variable.
func carriesCA(c *corev1.Container) bool {
	mounted, set := false, false
	for _, m := range c.VolumeMounts {
		mounted = mounted || m.Name == "s3-tls-cert" && m.MountPath == "/etc/ssl/certs/s3-ca.crt" && m.SubPath == "s3-ca.crt" && m.ReadOnly
	}
	for _, v := range c.Env {
		set = set || v.Name == "SSL_CERT_FILE" && v.Value == "/etc/ssl/certs/s3-ca.crt"
	}
	return mounted && set
}

// reviews returns how many reviews the server has answered.
func reviews(t *testing.T) int {
	t.Helper()
	return reviewsOf(t, injector)
}

func reviewsOf(t *testing.T, server *localcluster.Injector) int {
	t.Helper()
	text, err := server.Metrics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, m := range regexp.MustCompile(`(?m)^s3_tls_admissions_total\{.*\} (\d+)$`).FindAllStringSubmatch(text, -1) {
		n, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		total += n
	}
	return total
}

func TestWhoIsInjected(t *testing.T) {
	c, _ := newClient(t)
	labelled := map[string]string{"s3-tls/inject": "true"}
	tests := map[string]struct {
		labels   map[string]string
		tweak    func(*corev1.Pod)
		injected bool
		// called tells whether the pod may reach the server at all.
		called bool
	}{
		"annotation":                            {nil, optIn, true, true},
		"namespace label":                       {labelled, nil, true, true},
		"annotation in a namespace that is out": {map[string]string{"s3-tls/inject": "false"}, optIn, true, true},
		"not opted in":                          {nil, nil, false, false},
		"opted out in a labelled namespace":     {labelled, func(p *corev1.Pod) { p.Annotations["s3-tls/inject"] = "false" }, false, false},
		"label on the pod only":                 {nil, func(p *corev1.Pod) { p.Labels = labelled }, false, false},
		"no S3 client in a labelled namespace": {labelled, func(p *corev1.Pod) {
			p.Spec.Containers[0].Args = []string{"query", "--endpoint=dnssrv+_grpc._tcp.thanos-store"}
		}, false, false},
		"no S3 client that names containers": {labelled, func(p *corev1.Pod) {
			p.Annotations["s3-tls/containers"] = "thanos-store"
			p.Spec.Containers[0].Image = "registry.corp/tools/report:1"
			p.Spec.Containers[0].Args = nil
		}, true, true},
		"Windows": {nil, func(p *corev1.Pod) { optIn(p); p.Spec.OS = &corev1.PodOS{Name: corev1.Windows} }, false, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			pod := newPod(newNamespace(t, c, tt.labels, nil), tt.tweak)
			before := reviews(t)
			if err := c.Create(t.Context(), pod); err != nil {
				t.Fatal(err)
			}
			if called := reviews(t) > before; called != tt.called {
				t.Errorf("the API server called the injector: %v, want %v", called, tt.called)
			}
			if got := carriesCA(&pod.Spec.Containers[0]); got != tt.injected {
				t.Errorf("injected: %v, want %v; containers %+v", got, tt.injected, pod.Spec.Containers)
			}
		})
	}
}

func TestNamespaceDefaultsApply(t *testing.T) {
	c, _ := newClient(t)
	namespace := newNamespace(t, c, map[string]string{"s3-tls/inject": "true"}, map[string]string{"s3-tls/configmap": "storage-ca"})
	pod := newPod(namespace, nil) // at once: the cache has not seen the namespace yet
	if err := c.Create(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	for _, v := range pod.Spec.Volumes {
		if v.Name == "s3-tls-cert" && v.ConfigMap != nil && v.ConfigMap.Name == "storage-ca" {
			return
		}
	}
	t.Errorf("no volume of ConfigMap storage-ca: %+v", pod.Spec.Volumes)
}

func TestRefusalAsKubectlShowsIt(t *testing.T) {
	c, _ := newClient(t)
	namespace := newNamespace(t, c, nil, nil)
	pod := func(annotations string) string {
		return fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"bad","namespace":%q,"annotations":%s},
"spec":{"containers":[{"name":"thanos-store","image":%q}]}}`, namespace, annotations, thanosImage)
	}
	tests := map[string]struct{ annotations, want string }{
		"value of the opt-in": {
			`{"s3-tls/inject":"yes"}`,
			`admission webhook "pod.inject.s3-tls" denied the request: metadata.annotations[s3-tls/inject]: "yes" is neither "true" nor "false"`,
		},
		"every mistake": {
			`{"s3-tls/inject":"true","s3-tls/mount-path":"x","s3-tls/containers":"y"}`,
			`admission webhook "pod.inject.s3-tls" denied the request: metadata.annotations[s3-tls/mount-path]: "x" is not absolute; begin it with /; ` +
				`metadata.annotations[s3-tls/containers]: no container "y"; the pod has thanos-store`,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, stderr, err := cluster.Kubectl(t.Context(), pod(tt.annotations), "create", "-f", "-")
			if err == nil || !strings.Contains(stderr, tt.want) {
				t.Errorf("error %v, stderr\n%s\nwant\n%s", err, stderr, tt.want)
			}
		})
	}
}

func TestWarningReachesTheUser(t *testing.T) {
	c, w := newClient(t)
	namespace := newNamespace(t, c, nil, nil)
	putCA(t, c, namespace, certificate(t, true, time.Now().AddDate(1, 0, 0)))
	pod := newPod(namespace, func(p *corev1.Pod) {
		optIn(p)
		p.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "SSL_CERT_FILE", Value: "/etc/secret-path"}}
	})
	if err := c.Create(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	want := `spec.containers[0].env: "thanos-store" already sets SSL_CERT_FILE; left unchanged`
	if len(w.texts) != 1 || w.texts[0] != want {
		t.Errorf("warnings %q, want %q", w.texts, want)
	}
}

func TestDryRunInjectsAndStoresNothing(t *testing.T) {
	c, _ := newClient(t)
	pod := newPod(newNamespace(t, c, nil, nil), optIn)
	if err := c.Create(t.Context(), pod, client.DryRunAll); err != nil {
		t.Fatal(err)
	}
	if !carriesCA(&pod.Spec.Containers[0]) {
		t.Errorf("dry run without the injection: %+v", pod.Spec.Containers)
	}
	pods := &corev1.PodList{}
	if err := c.List(t.Context(), pods, client.InNamespace(pod.Namespace)); err != nil || len(pods.Items) != 0 {
		t.Errorf("pods after a dry run: %v, %v", pods.Items, err)
	}
}

func TestWholeAnswerIsTheContracts(t *testing.T) {
	c, _ := newClient(t)
	pod := newPod(newNamespace(t, c, nil, nil), optIn)
	want := pod.DeepCopy()
	if err := c.Create(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	want.Annotations["s3-tls/injected-by"] = "pod"
	for key, value := range want.Annotations {
		if pod.Annotations[key] != value {
			t.Errorf("annotation %s is %q, want %q", key, pod.Annotations[key], value)
		}
	}
	if len(pod.Annotations) != len(want.Annotations) || len(pod.Spec.Volumes) != 1 || len(pod.Spec.Containers) != 1 {
		t.Errorf("more was added than the contract says: %+v %+v", pod.Annotations, pod.Spec.Volumes)
	}
	secret := pod.Spec.Volumes[0].Secret
	if secret == nil || secret.SecretName != "s3-tls-cert" || len(secret.Items) != 1 || secret.Items[0].Key != "ca.crt" || secret.Items[0].Path != "s3-ca.crt" {
		t.Errorf("volume %+v", pod.Spec.Volumes[0])
	}
}

// A field that this version of the API does not know is dropped by the API
// server itself before any webhook sees it, unless the webhook is asked for it;
// what must survive is what the API server knows and our types do not read.
func TestFieldsThatWeDoNotReadSurvive(t *testing.T) {
	c, _ := newClient(t)
	namespace := newNamespace(t, c, nil, nil)
	pod := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Pod",
		"metadata": map[string]any{"name": "a", "namespace": namespace, "annotations": map[string]any{"s3-tls/inject": "true"}},
		"spec": map[string]any{
			"schedulingGates": []any{map[string]any{"name": "example.com/gate"}},
			"hostUsers":       false,
			"containers": []any{map[string]any{
				"name": "a", "image": thanosImage, "args": []any{"store"},
				"resizePolicy": []any{map[string]any{"resourceName": "cpu", "restartPolicy": "RestartContainer"}},
			}},
		},
	}}
	if err := c.Create(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	for _, path := range [][]string{{"spec", "schedulingGates"}, {"spec", "hostUsers"}} {
		if _, found, err := unstructured.NestedFieldNoCopy(pod.Object, path...); !found || err != nil {
			t.Errorf("%v is gone: %v", path, err)
		}
	}
	containers, _, err := unstructured.NestedSlice(pod.Object, "spec", "containers")
	if err != nil || containers[0].(map[string]any)["resizePolicy"] == nil || containers[0].(map[string]any)["volumeMounts"] == nil {
		t.Errorf("container %v, %v", containers, err)
	}
}

// A pod may be as large as the API server takes it: the conditions must not
// exceed its cost budget, which would refuse the pod.
func TestLargePodsAreAdmitted(t *testing.T) {
	c, _ := newClient(t)
	namespace := newNamespace(t, c, map[string]string{"s3-tls/inject": "true"}, nil)
	tests := map[string]func(*corev1.Pod){
		"60 containers of 40 arguments": func(p *corev1.Pod) {
			p.Spec.Containers = repeatContainers(60, corev1.Container{
				Image: "registry.corp/app:1", Args: repeatWord("--some.flag=http://thanos-store.loki.tempo.svc:10901/", 40),
			})
		},
		"200 containers of 100 words": func(p *corev1.Pod) {
			p.Spec.Containers = repeatContainers(200, corev1.Container{Image: "registry.corp/app:1", Args: repeatWord(everyName, 100)})
		},
		// The dearest pods within the bounds of the condition.
		"400 words of every product's name": func(p *corev1.Pod) {
			p.Spec.Containers = repeatContainers(1, corev1.Container{Image: "registry.corp/app:1", Args: repeatWord("x"+everyName[:38], 400)})
		},
		"200 containers of two words of every product's name": func(p *corev1.Pod) {
			p.Spec.Containers = repeatContainers(200, corev1.Container{Image: "registry.corp/app:1", Args: repeatWord(everyName[:39], 2)})
		},
		"16,000 characters in a script of every product's name": func(p *corev1.Pod) {
			script := strings.Repeat(everyName+" ", 16_000/len(everyName))[:15_900]
			p.Spec.Containers = repeatContainers(1, corev1.Container{Image: "registry.corp/app:1", Command: []string{"sh", "-c", script}})
		},
		"16,000 characters in a Loki's arguments": func(p *corev1.Pod) {
			p.Spec.Containers = repeatContainers(1, corev1.Container{Image: "grafana/loki:3", Args: append([]string{"-target=distributor"}, repeatWord("-target=distributor,query-frontend,ui", 398)...)})
		},
		"a script of 900 KB": func(p *corev1.Pod) {
			p.Spec.Containers[0].Image = "registry.corp/app:1"
			p.Spec.Containers[0].Command = []string{"sh", "-c", strings.Repeat("echo loki tempo; ", 900<<10/17)}
			p.Spec.Containers[0].Args = nil
		},
		"30 scripts of 30 KB": func(p *corev1.Pod) {
			p.Spec.Containers = repeatContainers(30, corev1.Container{
				Image: "registry.corp/app:1", Command: []string{"sh", "-c", strings.Repeat("echo loki-tempo-mimir thanos-x\n", 1000)},
			})
		},
	}
	for name, tweak := range tests {
		t.Run(name, func(t *testing.T) {
			pod := newPod(namespace, tweak)
			pod.Name, pod.GenerateName = "", "large-"
			if err := c.Create(t.Context(), pod); err != nil {
				t.Error(err)
			}
		})
	}
}

// everyName holds every product's name, and stands for none.
const everyName = "-thanos-loki-mimir-tempo-cortex-pyroscope-target"

func repeatWord(word string, n int) []string { return strings.Fields(strings.Repeat(word+" ", n)) }

func repeatContainers(n int, container corev1.Container) []corev1.Container {
	containers := make([]corev1.Container, n)
	for i := range containers {
		containers[i] = container
		containers[i].Name = fmt.Sprintf("c%d", i)
	}
	return containers
}

func TestLogNamesPodsAndHoldsNothingElseOfThem(t *testing.T) {
	c, _ := newClient(t)
	pod := newPod(newNamespace(t, c, nil, nil), func(p *corev1.Pod) {
		optIn(p)
		p.Name, p.GenerateName = "", "generated-"
		p.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "PASSWORD", Value: "planted-password"}, {Name: "SSL_CERT_FILE", Value: "/planted-path"}}
		p.Spec.Containers[0].Args = append(p.Spec.Containers[0].Args, "--planted-argument")
	})
	if err := c.Create(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	log := readFile(t, injector.Log)
	if !bytes.Contains(log, []byte("msg=injected namespace="+pod.Namespace+" name=generated- ")) {
		t.Errorf("no line for the pod:\n%s", log)
	}
	if bytes.Contains(log, []byte("planted")) {
		t.Error("the log holds what a pod says")
	}
}
