package apiserver

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/api/v1alpha1"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/inject"
)

// policyClient knows policies.
func policyClient(t *testing.T) client.Client {
	t.Helper()
	types := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(types); err != nil {
			t.Fatal(err)
		}
	}
	c, err := client.New(cluster.Config, client.Options{Scheme: types})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// applyPolicy applies a policy as a user does, until the test ends, and waits
// for its Ready condition to be about its present generation.
func applyPolicy(t *testing.T, c client.Client, name, spec string) *v1alpha1.InjectionPolicy {
	t.Helper()
	text := "apiVersion: policy.s3-tls/v1alpha1\nkind: InjectionPolicy\nmetadata: {name: " + name + "}\nspec:\n  " +
		strings.ReplaceAll(strings.TrimSpace(spec), "\n", "\n  ")
	if _, stderr, err := cluster.Kubectl(t.Context(), text, "apply", "-f", "-"); err != nil {
		t.Fatalf("%v: %s", err, stderr)
	}
	t.Cleanup(func() {
		if _, stderr, err := cluster.Kubectl(context.Background(), "", "delete", "injectionpolicy", name, "--ignore-not-found"); err != nil {
			t.Errorf("%v: %s", err, stderr)
		}
	})
	policy := &v1alpha1.InjectionPolicy{}
	within(t, 30*time.Second, "policy "+name+" to have a status", func() error {
		if err := c.Get(t.Context(), client.ObjectKey{Name: name}, policy); err != nil {
			return err
		}
		if policy.Status.ObservedGeneration != policy.Generation {
			return fmt.Errorf("status %+v at generation %d", policy.Status, policy.Generation)
		}
		return nil
	})
	return policy
}

// within calls until there is no error.
func within(t *testing.T, limit time.Duration, what string, call func() error) {
	t.Helper()
	for deadline := time.Now().Add(limit); ; time.Sleep(20 * time.Millisecond) {
		err := call()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited %s in vain for %s: %v", limit, what, err)
		}
	}
}

func entriesOfPolicies(t *testing.T, c client.Client) []string {
	t.Helper()
	configuration := &admissionregistrationv1.MutatingWebhookConfiguration{}
	if err := c.Get(t.Context(), client.ObjectKey{Name: "s3-tls-injector-policies"}, configuration); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, w := range configuration.Webhooks {
		if len(w.ClientConfig.CABundle) == 0 {
			t.Errorf("entry %s has no CA bundle", w.Name)
		}
		names = append(names, w.Name)
	}
	return names
}

// Every mistake is refused when the policy is applied, in words that say what to
// do, and the core refuses it too: the offline tool takes no more than the API server.
func TestBadPoliciesAreRefused(t *testing.T) {
	const ca = "ca: {secret: {name: a}}\n"
	tests := map[string]struct{ spec, want string }{
		"no CA":                         {"ca: {}", `spec.ca: Invalid value: name exactly one of secret, configMap and clusterTrustBundle`},
		"no ca field":                   {"{}", `spec.ca: Required value`},
		"two CAs":                       {"ca: {secret: {name: a}, configMap: {name: b}}", `spec.ca: Invalid value: name exactly one of secret, configMap and clusterTrustBundle`},
		"bad name of a Secret":          {"ca: {secret: {name: A_b}}", `spec.ca.secret.name: Invalid value: "A_b": is no valid name`},
		"bad name of a bundle":          {"ca: {clusterTrustBundle: {name: 'signer:A'}}", `spec.ca.clusterTrustBundle.name: Invalid value: "signer:A": is no valid name`},
		"bad key":                       {"ca: {secret: {name: a, key: a/b}}", `spec.ca.secret.key: Invalid value: "a/b": is no valid key`},
		"key that leads elsewhere":      {"ca: {configMap: {name: a, key: ..}}", `spec.ca.configMap.key: Invalid value: "..": is no valid key`},
		"relative path":                 {ca + "mountPath: certs/ca.crt", `spec.mountPath: Invalid value: "certs/ca.crt": is not absolute; begin it with /`},
		"path with a trailing slash":    {ca + "mountPath: /opt/ca/", `spec.mountPath: Invalid value: "/opt/ca/": is a directory; name a file in it`},
		"path of a directory":           {ca + "mountPath: /etc/ssl/certs", `spec.mountPath: Invalid value: "/etc/ssl/certs": is a directory; name a file in it`},
		"root":                          {ca + "mountPath: /", `spec.mountPath: Invalid value: "/": is a directory; name a file in it`},
		"path with dots":                {ca + "mountPath: /opt/../ca.crt", `spec.mountPath: Invalid value: "/opt/../ca.crt": is not a clean path; write it without //, . and .., : and $`},
		"path with a colon":             {ca + "mountPath: '/opt/a:b'", `spec.mountPath: Invalid value: "/opt/a:b": is not a clean path; write it without //, . and .., : and $`},
		"bad variable":                  {ca + "env: [A=B]", `spec.env[0]: Invalid value: "A=B": is no valid name of an environment variable`},
		"none among names":              {ca + "env: [none, A]", `spec.env: Invalid value: "none" stands alone, not among names`},
		"all among names":               {ca + "containers: ['*', x]", `spec.containers: Invalid value: "*" stands alone, not among names`},
		"bad name of a container":       {ca + "containers: [A]", `spec.containers[0]: Invalid value: "A": is no valid name`},
		"client with a tag":             {ca + "clients: [{image: 'minio/mc:latest'}]", `spec.clients[0].image: Invalid value: "minio/mc:latest": is no repository; write its last path elements, without tag, as in minio/mc`},
		"client with a star":            {ca + "clients: [{image: 'minio/*'}]", `spec.clients[0].image: Invalid value: "minio/*": is no repository; write its last path elements, without tag, as in minio/mc`},
		"client without an image":       {ca + "clients: [{args: [mirror]}]", `spec.clients[0].image: Required value`},
		"client with an empty argument": {ca + "clients: [{image: mc, args: ['']}]", `spec.clients[0].args[0]: Invalid value`},
		"no variables":                  {ca + "env: []", `spec.env: Invalid value: 0: spec.env in body should have at least 1 items`},
		"nine clients":                  {ca + "clients: [{image: a}, {image: b}, {image: c}, {image: d}, {image: e}, {image: f}, {image: g}, {image: h}, {image: i}]", `spec.clients: Too many: 9: must have at most 8 items`},
		"nine arguments":                {ca + "clients: [{image: a, args: [a, b, c, d, e, f, g, h, i]}]", `spec.clients[0].args: Too many: 9: must have at most 8 items`},
		"unknown failure policy":        {ca + "failurePolicy: Retry", `spec.failurePolicy: Unsupported value: "Retry": supported values: "Fail", "Ignore"`},
		"unknown rotation":              {ca + "onRotation: restart", `spec.onRotation: Unsupported value: "restart": supported values: "None", "Restart"`},
		"unknown operator":              {ca + "podSelector: {matchExpressions: [{key: a, operator: Is, values: [b]}]}", `spec.podSelector.matchExpressions[0].operator: Unsupported value: "Is": supported values: "In", "NotIn", "Exists", "DoesNotExist"`},
		"operator without values":       {ca + "podSelector: {matchExpressions: [{key: a, operator: In}]}", `spec.podSelector.matchExpressions[0]: Invalid value: In needs values`},
		"operator with values":          {ca + "namespaceSelector: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}", `spec.namespaceSelector.matchExpressions[0]: Invalid value: Exists takes no values`},
		"bad key of a label":            {ca + "namespaceSelector: {matchLabels: {'a b': c}}", `spec.namespaceSelector.matchLabels: Invalid value: "a b" is no valid key of a label`},
		"bad value of a label":          {ca + "namespaceSelector: {matchLabels: {a: 'b c'}}", `spec.namespaceSelector.matchLabels[a]: Invalid value: "b c": is no valid value of a label`},
		"misspelt field":                {ca + "podselector: {}", `unknown field "spec.podselector"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			policy := fmt.Sprintf(`{"apiVersion":"policy.s3-tls/v1alpha1","kind":"InjectionPolicy","metadata":{"name":"bad"},"spec":%s}`, asJSON(t, tt.spec))
			_, stderr, err := cluster.Kubectl(t.Context(), policy, "create", "--dry-run=server", "-f", "-")
			if err == nil {
				t.Fatal("the API server takes it")
			}
			if !strings.Contains(stderr, tt.want) { // value and message are told apart by a colon
				t.Errorf("the API server says\n%s\nwant\n%s", stderr, tt.want)
			}
			var typed v1alpha1.InjectionPolicy
			if unknown, err := kjson.UnmarshalStrict([]byte(policy), &typed); err != nil || len(unknown) > 0 {
				return // the tool decodes as strictly
			}
			if _, err := inject.NewPolicy(&typed); err == nil {
				t.Error("the core takes it")
			}
		})
	}
}

func asJSON(t *testing.T, text string) []byte {
	t.Helper()
	data, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// What the API server takes, the core takes.
func TestGoodPoliciesAreTaken(t *testing.T) {
	for name, spec := range map[string]string{
		"defaults":      "ca: {secret: {name: s3-tls-cert}}",
		"signer bundle": "ca: {clusterTrustBundle: {name: 'example.com/signer:s3-ca'}}\nenv: [none]\ncontainers: ['*']",
		"all fields": `
namespaceSelector: {matchLabels: {example.com/team: a.b_c-d, empty: ""}, matchExpressions: [{key: x, operator: NotIn, values: [y]}]}
podSelector: {matchExpressions: [{key: app, operator: Exists}, {key: no, operator: DoesNotExist}]}
ca: {configMap: {name: storage-ca, key: bundle.pem}}
mountPath: /opt/ca/s3.pem
env: [AWS_CA_BUNDLE, SSL_CERT_FILE, my.var-x]
containers: [a, b-1]
clients: [{image: minio/mc, args: [mirror, --json]}, {image: My_Image.x}]
requireCA: true
failurePolicy: Ignore
onRotation: Restart`,
	} {
		t.Run(name, func(t *testing.T) {
			policy := &v1alpha1.InjectionPolicy{}
			policy.Name = "good"
			if err := yaml.UnmarshalStrict([]byte(spec), &policy.Spec); err != nil {
				t.Fatal(err)
			}
			if err := policyClient(t).Create(t.Context(), policy, client.DryRunAll); err != nil {
				t.Error(err)
			}
			if _, err := inject.NewPolicy(policy); err != nil {
				t.Error(err)
			}
		})
	}
}

// A policy injects the S3 clients that it selects, in a namespace that knows
// nothing of it, and no other pod's creation calls the injector.
func TestPolicyInjectsWhatItSelects(t *testing.T) {
	c, _ := newClient(t)
	pc := policyClient(t)
	policy := applyPolicy(t, pc, "storage-tier", `
namespaceSelector: {matchLabels: {tier: storage}}
podSelector: {matchLabels: {app: store}}
ca: {configMap: {name: storage-ca}}
mountPath: /etc/ssl/certs/storage.pem
clients: [{image: minio/mc, args: [mirror]}]`)
	ready := meta.FindStatusCondition(policy.Status.Conditions, "Ready")
	if ready == nil || ready.Status != "True" || ready.Reason != "Active" {
		t.Fatalf("condition Ready: %+v", ready)
	}
	want := []string{"storage-tier.policy.inject.s3-tls", "storage-tier.labelled-policy.inject.s3-tls"} // it has clients of its own
	if diff := cmp.Diff(want, entriesOfPolicies(t, pc)); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	storage := map[string]string{"tier": "storage"}
	app := func(p *corev1.Pod) { p.Labels = map[string]string{"app": "store"} }
	tests := map[string]struct {
		labels           map[string]string
		tweak            func(*corev1.Pod)
		injected, called bool
	}{
		"selected":                          {storage, app, true, true},
		"another namespace":                 {nil, app, false, false},
		"another pod":                       {storage, nil, false, false},
		"a namespace that opted out":        {map[string]string{"tier": "storage", "s3-tls/inject": "false"}, app, false, false},
		"a pod that opted out":              {storage, func(p *corev1.Pod) { app(p); p.Annotations["s3-tls/inject"] = "false" }, false, false},
		"the policy's settings for another": {storage, func(p *corev1.Pod) { app(p); optIn(p) }, true, true},
		"no S3 client": {storage, func(p *corev1.Pod) {
			app(p)
			p.Spec.Containers[0].Args = []string{"query"}
		}, false, false},
		"a client of the policy's own, labelled": {map[string]string{"tier": "storage", "s3-tls/inject": "true"}, func(p *corev1.Pod) {
			app(p)
			p.Spec.Containers[0].Image, p.Spec.Containers[0].Args = "minio/mc:1", []string{"mirror", "/a", "b/c"}
		}, true, true},
		"a client of the policy's own": {storage, func(p *corev1.Pod) {
			app(p)
			p.Spec.Containers[0].Image, p.Spec.Containers[0].Args = "minio/mc:1", []string{"mirror", "/a", "b/c"}
		}, true, true},
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
			mounted := false
			for _, m := range pod.Spec.Containers[0].VolumeMounts {
				mounted = mounted || m.MountPath == "/etc/ssl/certs/storage.pem"
			}
			if mounted != tt.injected {
				t.Errorf("injected: %v, want %v: %+v", mounted, tt.injected, pod.Spec.Containers)
			}
			source := pod.Annotations["s3-tls/injected-by"]
			if tt.labels["s3-tls/inject"] == "true" {
				return // the label is its source
			}
			if want := map[bool]string{true: "policy/storage-tier", false: ""}[tt.injected]; source != want && pod.Annotations["s3-tls/inject"] == "" {
				t.Errorf("source %q, want %q", source, want)
			}
		})
	}
}

// An edit counts for every pod that is created after the policy says that it is
// ready; a deletion takes the entry away.
func TestEditsAndDeletionTakeEffect(t *testing.T) {
	c, _ := newClient(t)
	pc := policyClient(t)
	namespace := newNamespace(t, c, map[string]string{"edits": "true"}, nil)
	const spec = "namespaceSelector: {matchLabels: {edits: 'true'}}\nca: {configMap: {name: storage-ca}}\nmountPath: "
	for i := range 10 {
		path := fmt.Sprintf("/opt/ca/edit-%d.pem", i)
		applyPolicy(t, pc, "edited", spec+path)
		pod := newPod(namespace, nil)
		pod.Name, pod.GenerateName = "", "edit-"
		if err := c.Create(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
		if mounts := pod.Spec.Containers[0].VolumeMounts; len(mounts) != 1 || mounts[0].MountPath != path {
			t.Errorf("edit %d: mounts %+v, want %s", i, mounts, path)
		}
	}
	if _, stderr, err := cluster.Kubectl(t.Context(), "", "delete", "injectionpolicy", "edited"); err != nil {
		t.Fatalf("%v: %s", err, stderr)
	}
	within(t, 10*time.Second, "the entry to go", func() error {
		if names := entriesOfPolicies(t, pc); len(names) > 0 {
			return fmt.Errorf("entries %v", names)
		}
		return nil
	})
	pod := newPod(namespace, nil)
	if err := c.Create(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	if len(pod.Spec.Volumes) > 0 {
		t.Errorf("injected by a policy that is gone: %+v", pod.Spec.Volumes)
	}
}

// From the moment at which a policy is applied no pod is refused, and from the
// first pod that it injects on it injects every one.
func TestNoWindowWhenAPolicyComes(t *testing.T) {
	c, _ := newClient(t)
	for round := range 5 {
		label := fmt.Sprintf("round-%d", round)
		namespace := newNamespace(t, c, map[string]string{"window": label}, nil)
		stop, done := make(chan struct{}), make(chan error, 1)
		go func() {
			injected := false
			for i := 0; ; i++ {
				select {
				case <-stop:
					if !injected {
						done <- fmt.Errorf("no pod of %d was injected", i)
					}
					close(done)
					return
				default:
				}
				pod := newPod(namespace, nil)
				pod.Name, pod.GenerateName = "", "window-"
				if err := c.Create(t.Context(), pod); err != nil {
					done <- fmt.Errorf("pod %d is refused: %w", i, err)
					return
				}
				now := len(pod.Spec.Volumes) > 0
				if injected && !now {
					done <- fmt.Errorf("pod %d is not injected, one before it was", i)
					return
				}
				injected = now
			}
		}()
		applyPolicy(t, policyClient(t), "window", "namespaceSelector: {matchLabels: {window: "+label+"}}\nca: {secret: {name: s3-tls-cert}}")
		time.Sleep(200 * time.Millisecond) // some pods more
		close(stop)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

// Of policies that select the same pods the first by name counts, and the
// other says so.
func TestOverlapIsTold(t *testing.T) {
	c, _ := newClient(t)
	pc := policyClient(t)
	first := applyPolicy(t, pc, "overlap-a", "namespaceSelector: {matchLabels: {overlap: 'true'}}\nca: {configMap: {name: first}}")
	second := applyPolicy(t, pc, "overlap-b", "podSelector: {matchLabels: {app: store}}\nca: {configMap: {name: second}}")
	apart := applyPolicy(t, pc, "overlap-c", "namespaceSelector: {matchLabels: {overlap: 'false'}}\npodSelector: {matchLabels: {app: other}}\nca: {configMap: {name: third}}")
	for policy, want := range map[*v1alpha1.InjectionPolicy]string{
		first:  "Active: the API server calls the injector for the pods that the policy selects",
		second: `Overlapped: the API server calls the injector; where "overlap-a" too selects a pod, that one counts`,
		apart:  "Active: the API server calls the injector for the pods that the policy selects",
	} {
		ready := meta.FindStatusCondition(policy.Status.Conditions, "Ready")
		if ready == nil || ready.Reason+": "+ready.Message != want {
			t.Errorf("policy %s: %+v, want %s", policy.Name, ready, want)
		}
	}
	pod := newPod(newNamespace(t, c, map[string]string{"overlap": "true"}, nil), func(p *corev1.Pod) { p.Labels = map[string]string{"app": "store"} })
	if err := c.Create(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	if v := pod.Spec.Volumes; len(v) != 1 || v[0].ConfigMap == nil || v[0].ConfigMap.Name != "first" {
		t.Errorf("volumes %+v, want the first policy's", v)
	}
}

// certificate makes a self-signed certificate, as PEM.
func certificate(t *testing.T, isCA bool, notAfter time.Time) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return selfSigned(t, key, isCA, notAfter)
}

// selfSigned is a certificate that a key signed for itself, as PEM.
func selfSigned(t *testing.T, key crypto.Signer, isCA bool, notAfter time.Time) []byte {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "S3 CA"}, NotBefore: notAfter.AddDate(-1, 0, 0), NotAfter: notAfter,
		IsCA: isCA, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return certificatePEM(der)
}

// The condition CAValid says what is wrong with the CA, where, and what to do
// where the injector may not look.
func TestPolicyTellsOfItsCA(t *testing.T) {
	c, _ := newClient(t)
	pc := policyClient(t)
	nextYear := time.Now().AddDate(0, 11, 0).UTC().Truncate(time.Second)
	tests := map[string]struct {
		data           []byte
		source, reason string
		message        string
	}{
		"valid":        {certificate(t, true, nextYear), "secret: {name: s3-tls-cert, key: a.crt}", "Valid", `secret "s3-tls-cert" is valid in 1 namespace`},
		"expired":      {certificate(t, true, time.Now().AddDate(0, 0, -2)), "secret: {name: s3-tls-cert, key: b.crt}", "Expired", `certificate 1 (S3 CA) expired on`},
		"expires soon": {certificate(t, true, time.Now().AddDate(0, 0, 5)), "secret: {name: s3-tls-cert, key: c.crt}", "ExpiresSoon", `certificate 1 (S3 CA) expires on`},
		"a leaf":       {certificate(t, false, nextYear), "secret: {name: s3-tls-cert, key: d.crt}", "Invalid", `certificate 1 (S3 CA) is self-signed and no CA`},
		"not pem":      {[]byte("planted"), "secret: {name: s3-tls-cert, key: e.crt}", "Invalid", `it holds no PEM certificate`},
		"missing":      {nil, "secret: {name: s3-tls-cert, key: f.crt}", "Missing", `no namespace that the policy selects holds secret "s3-tls-cert"; pods wait for it`},
		"not allowed":  {nil, "configMap: {name: storage-ca}", "NotAllowed", `the injector has no right to watch configMap "storage-ca"; give it get, list and watch of that name`},
		"a bundle":     {nil, "clusterTrustBundle: {name: s3-ca}", "NotChecked", `a ClusterTrustBundle is not read`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			label := strings.ReplaceAll(name, " ", "-")
			namespace := newNamespace(t, c, map[string]string{"judged": label}, nil)
			if tt.data != nil {
				secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "s3-tls-cert"}}
				secret.Data = map[string][]byte{strings.TrimSuffix(strings.Split(tt.source, "key: ")[1], "}"): tt.data}
				if err := c.Create(t.Context(), secret); err != nil {
					t.Fatal(err)
				}
			}
			policy := applyPolicy(t, pc, "judged-"+label, "namespaceSelector: {matchLabels: {judged: "+label+"}}\nca: {"+tt.source+"}")
			condition := meta.FindStatusCondition(policy.Status.Conditions, "CAValid")
			if condition == nil || condition.Reason != tt.reason || !strings.Contains(condition.Message, tt.message) {
				t.Errorf("condition CAValid %+v, want %s: %s", condition, tt.reason, tt.message)
			}
			if strings.Contains(fmt.Sprint(policy.Status), "planted") {
				t.Error("the status holds what the Secret does")
			}
			if tt.reason == "NotAllowed" {
				if told := bytes.Count(readFile(t, injector.Log), []byte(`msg="not allowed to watch; injecting without knowing the CA" logger=cas resource=configmaps name=storage-ca`)); told != 1 {
					t.Errorf("the log says %d times that it is not allowed, want once", told)
				}
			}
			if tt.reason == "Valid" && (policy.Status.CANotAfter == nil || !policy.Status.CANotAfter.Time.Equal(nextYear)) {
				t.Errorf("expiry %v, want %v", policy.Status.CANotAfter, nextYear)
			}
		})
	}
}

// What kubectl shows of a policy: its columns, its events, its documentation.
func TestWhatKubectlShowsOfAPolicy(t *testing.T) {
	applyPolicy(t, policyClient(t), "shown", "namespaceSelector: {matchLabels: {nobody: has-this}}\nca: {secret: {name: s3-tls-cert}}")
	for command, want := range map[string]string{
		"get s3tls shown":                      "NAME    READY   CA        EXPIRY   AGE\nshown   True    Missing",
		"explain injectionpolicy.spec.env":     `Variables that are set to the path; ["none"] sets none.`,
		"explain injectionpolicy.spec.ca":      "Where the CA is: exactly one source.",
		"explain injectionpolicy.spec.clients": "Further S3 clients, beside those that are recognised anyway.",
		"explain injectionpolicy.status":       "What the injector says of the policy.",
		"get injectionpolicies shown -o yaml":  "mountPath: /etc/ssl/certs/s3-ca.crt",
		"get events -n default -o custom-columns=R:.reason,M:.message --field-selector=involvedObject.name=shown": "Active",
	} {
		within(t, 10*time.Second, command, func() error {
			stdout, stderr, err := cluster.Kubectl(t.Context(), "", strings.Fields(command)...)
			if err != nil || !strings.Contains(stdout, want) {
				return fmt.Errorf("%w: %s%s, want %q", err, stdout, stderr, want)
			}
			return nil
		})
	}
}
