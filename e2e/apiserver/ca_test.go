package apiserver

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/s3-tls-injector/s3-tls-injector/e2e/localcluster"
)

// putCA creates or replaces the CA of a namespace.
func putCA(t *testing.T, c client.Client, namespace string, file []byte) {
	t.Helper()
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "s3-tls-cert"}, Data: map[string][]byte{"ca.crt": file},
	}
	err := c.Update(t.Context(), secret)
	if err != nil {
		err = c.Create(t.Context(), secret)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func shaOf(file []byte) string {
	sum := sha256.Sum256(file)
	return hex.EncodeToString(sum[:])
}

func inAYear() time.Time { return time.Now().AddDate(0, 11, 0) }

// What admission tells of a CA. The pod is created in one breath with it.
func TestAdmissionTellsOfTheCA(t *testing.T) {
	good := certificate(t, true, inAYear())
	expired := certificate(t, true, time.Now().AddDate(0, 0, -2))
	const key = "-----BEGIN EC PRIVATE KEY-----\ncGxhbnRlZA==\n-----END EC PRIVATE KEY-----\n"
	tests := map[string]struct {
		data     map[string][]byte // nil: there is no Secret
		warnings []string
		sha256   string
		injected bool
	}{
		"valid":       {map[string][]byte{"ca.crt": good}, nil, shaOf(good), true},
		"missing":     {nil, []string{`Secret s3-tls-cert: it is missing in namespace "NAMESPACE"; create it there`}, "", true},
		"missing key": {map[string][]byte{"tls.crt": good}, []string{"Secret s3-tls-cert[ca.crt]: the key is missing; put the CA there"}, "", true},
		"expired":     {map[string][]byte{"ca.crt": expired}, []string{"Secret s3-tls-cert[ca.crt]: certificate 1 (S3 CA) expired on " + time.Now().UTC().AddDate(0, 0, -2).Format(time.DateOnly)}, shaOf(expired), true},
		"no PEM":      {map[string][]byte{"ca.crt": []byte("planted")}, []string{"Secret s3-tls-cert[ca.crt]: it holds no PEM certificate"}, "", true},
		"a private key beside it": {
			map[string][]byte{"ca.crt": good, "tls.key": []byte(key)},
			[]string{"Secret s3-tls-cert[ca.crt]: the object holds a private key too, in tls.key; keep the CA in one of its own"},
			shaOf(good), true,
		},
		"a private key in it": {
			map[string][]byte{"ca.crt": append([]byte(key), good...)},
			[]string{"Secret s3-tls-cert[ca.crt]: it holds a private key at line 1; keep certificates only, and replace that key"},
			"", false,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c, w := newClient(t)
			namespace := newNamespace(t, c, nil, nil)
			if tt.data != nil {
				secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "s3-tls-cert"}, Data: tt.data}
				if err := c.Create(t.Context(), secret); err != nil {
					t.Fatal(err)
				}
			}
			pod := newPod(namespace, optIn)
			if err := c.Create(t.Context(), pod); err != nil {
				t.Fatal(err)
			}
			for i := range tt.warnings {
				tt.warnings[i] = strings.ReplaceAll(tt.warnings[i], "NAMESPACE", namespace)
			}
			if diff := cmp.Diff(tt.warnings, w.texts); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
			if got := pod.Annotations["s3-tls/ca-sha256"]; got != tt.sha256 {
				t.Errorf("s3-tls/ca-sha256 %q, want %q", got, tt.sha256)
			}
			if got := carriesCA(&pod.Spec.Containers[0]); got != tt.injected {
				t.Errorf("injected %v, want %v", got, tt.injected)
			}
		})
	}
}

// A ConfigMap is read as a Secret is; what the injector may not read is unknown.
func TestAdmissionReadsConfigMapsAndNoOtherName(t *testing.T) {
	c, w := newClient(t)
	namespace := newNamespace(t, c, nil, nil)
	good := string(certificate(t, true, inAYear()))
	for _, name := range []string{"s3-tls-cert", "other"} {
		if err := c.Create(t.Context(), &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Data: map[string]string{"ca.crt": good},
		}); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{"s3-tls-cert": shaOf([]byte(good)), "other": "", "not-there": ""} {
		pod := newPod(namespace, func(p *corev1.Pod) {
			optIn(p)
			p.Name, p.Annotations["s3-tls/configmap"] = "of-"+name, name
		})
		if err := c.Create(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
		if got := pod.Annotations["s3-tls/ca-sha256"]; got != want || !carriesCA(&pod.Spec.Containers[0]) {
			t.Errorf("%s: s3-tls/ca-sha256 %q, want %q", name, got, want)
		}
	}
	if len(w.texts) > 0 {
		t.Errorf("warnings %q", w.texts)
	}
}

func TestPolicyRequiresTheCA(t *testing.T) {
	c, _ := newClient(t)
	labels := map[string]string{"requires": "ca"}
	applyPolicy(t, policyClient(t), "requires-ca", "namespaceSelector: {matchLabels: {requires: ca}}\nca: {secret: {name: s3-tls-cert}}\nrequireCA: true")
	good := certificate(t, true, inAYear())
	for name, tt := range map[string]struct {
		file []byte
		want string // nothing: it is admitted
	}{
		"valid":        {good, ""},
		"expires soon": {certificate(t, true, time.Now().AddDate(0, 0, 5)), ""},
		"missing":      {nil, `Secret s3-tls-cert: it is missing in namespace`},
		"expired":      {certificate(t, true, time.Now().AddDate(0, 0, -5)), `Secret s3-tls-cert[ca.crt]: certificate 1 (S3 CA) expired on`},
		"a leaf":       {certificate(t, false, inAYear()), `Secret s3-tls-cert[ca.crt]: certificate 1 (S3 CA) is self-signed and no CA; issue one by a CA, and put that CA there`},
	} {
		t.Run(name, func(t *testing.T) {
			namespace := newNamespace(t, c, labels, nil)
			if tt.file != nil {
				putCA(t, c, namespace, tt.file)
			}
			for opted, tweak := range map[string]func(*corev1.Pod){"by the policy": nil, "by annotation": optIn} {
				pod := newPod(namespace, tweak)
				pod.Name, pod.GenerateName = "", "store-"
				err := c.Create(t.Context(), pod)
				switch {
				case tt.want == "" && (err != nil || !carriesCA(&pod.Spec.Containers[0])):
					t.Errorf("opted in %s: %v", opted, err)
				case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) ||
					!strings.Contains(err.Error(), `policy "requires-ca" refuses pods until their CA is there and valid (spec.requireCA)`)):
					t.Errorf("opted in %s: %v, want %s", opted, err, tt.want)
				}
			}
			unconcerned := newPod(namespace, func(p *corev1.Pod) { p.Spec.Containers[0].Image, p.Spec.Containers[0].Args = "nginx", nil })
			if err := c.Create(t.Context(), unconcerned); err != nil {
				t.Errorf("a pod that is no S3 client: %v", err)
			}
		})
	}
}

// newStatefulSet creates a StatefulSet that no controller looks after.
func newStatefulSet(t *testing.T, c client.Client, namespace, name string) *appsv1.StatefulSet {
	t.Helper()
	labels := map[string]string{"app": name}
	set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: appsv1.StatefulSetSpec{
		Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: labels},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "thanos-store", Image: thanosImage}}},
		},
	}}
	if err := c.Create(t.Context(), set); err != nil {
		t.Fatal(err)
	}
	return set
}

// ownedBy makes a pod one that a StatefulSet's controller created.
func ownedBy(set *appsv1.StatefulSet, ordinal int) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		optIn(p)
		p.Name, p.Labels = fmt.Sprintf("%s-%d", set.Name, ordinal), set.Spec.Template.Labels
		p.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(set, appsv1.SchemeGroupVersion.WithKind("StatefulSet"))}
	}
}

// eventsOf returns the events of an object: "Warning CAExpired ×2: note". client-go
// writes the count when it becomes 2, and then from time to time.
func eventsOf(t *testing.T, c client.Client, namespace, name string) []string {
	t.Helper()
	list := &eventsv1.EventList{}
	if err := c.List(t.Context(), list, client.InNamespace(namespace)); err != nil {
		t.Fatal(err)
	}
	var found []string
	for i := range list.Items {
		e := &list.Items[i]
		if e.Regarding.Name != name {
			continue
		}
		count := ""
		if e.Series != nil {
			count = fmt.Sprintf(" ×%d", e.Series.Count)
		}
		found = append(found, fmt.Sprintf("%s %s%s: %s", e.Type, e.Reason, count, e.Note))
	}
	return found
}

// expectEvents waits until an object has these events, each with this in it.
func expectEvents(t *testing.T, c client.Client, namespace, name string, want ...string) {
	t.Helper()
	within(t, 20*time.Second, "the events of "+name, func() error {
		found := eventsOf(t, c, namespace, name)
		if len(found) != len(want) {
			return fmt.Errorf("%q, want %q", found, want)
		}
		for _, w := range want {
			if !strings.Contains(strings.Join(found, "\n"), w) {
				return fmt.Errorf("%q, want %q", found, w)
			}
		}
		return nil
	})
}

// A controller hides what it is told, so its object is told in an event: once, however
// many pods there are; never on dry run.
func TestEventsTellTheOwner(t *testing.T) {
	c, _ := newClient(t)
	namespace := newNamespace(t, c, nil, nil)
	putCA(t, c, namespace, certificate(t, true, time.Now().AddDate(0, 0, -2)))
	set := newStatefulSet(t, c, namespace, "store")
	dry := newPod(namespace, ownedBy(newStatefulSet(t, c, namespace, "dry"), 0))
	if err := c.Create(t.Context(), dry, client.DryRunAll); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		pod := newPod(namespace, func(p *corev1.Pod) {
			ownedBy(set, i)(p)
			p.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "SSL_CERT_FILE", Value: "/planted"}}
		})
		if err := c.Create(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
	}
	refused := newPod(namespace, func(p *corev1.Pod) {
		ownedBy(set, 9)(p)
		p.Annotations["s3-tls/env"] = "1planted"
	})
	if err := c.Create(t.Context(), refused); err == nil {
		t.Fatal("a pod with mistakes is admitted")
	}
	expectEvents(t, c, namespace, "store",
		"Warning CAExpired ×2: Secret s3-tls-cert[ca.crt]: certificate 1 (S3 CA) expired on",
		`Warning InjectionWarning ×2: spec.containers[0].env: "thanos-store" already sets SSL_CERT_FILE; left unchanged`,
		"Warning InjectionRefused: metadata.annotations[s3-tls/env]")
	if found := eventsOf(t, c, namespace, "dry"); len(found) > 0 {
		t.Errorf("events of a dry run: %q", found)
	}
}

// metric returns the lines of the server's metrics that begin with a prefix.
func metric(t *testing.T, server *localcluster.Injector, prefix string) string {
	t.Helper()
	text, err := server.Metrics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, prefix) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

func TestMetricsOfCAsAndPods(t *testing.T) {
	c, _ := newClient(t)
	expiry := time.Now().AddDate(0, 0, 5).Truncate(time.Second)
	soon, none := newNamespace(t, c, nil, nil), newNamespace(t, c, nil, nil)
	putCA(t, c, soon, certificate(t, true, expiry))
	for _, namespace := range []string{soon, none} {
		if err := c.Create(t.Context(), newPod(namespace, optIn)); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(want ...string) {
		t.Helper()
		within(t, 20*time.Second, "the metrics", func() error {
			found := metric(t, injector, "s3_tls_")
			for _, w := range want {
				if !strings.Contains(found, w+"\n") {
					return errors.New(w)
				}
			}
			return nil
		})
	}
	expect(
		fmt.Sprintf(`s3_tls_ca_not_after_timestamp_seconds{key="ca.crt",kind="Secret",name="s3-tls-cert",namespace="%s"} %s`, soon, asMetric(float64(expiry.Unix()))),
		fmt.Sprintf(`s3_tls_ca_problem{kind="Secret",name="s3-tls-cert",namespace="%s",problem="expires-soon"} 1`, soon),
		fmt.Sprintf(`s3_tls_ca_problem{kind="Secret",name="s3-tls-cert",namespace="%s",problem="missing"} 1`, none),
		fmt.Sprintf(`s3_tls_pods{namespace="%s",state="current"} 1`, soon),
		fmt.Sprintf(`s3_tls_pods{namespace="%s",state="unknown"} 1`, none),
	)
	putCA(t, c, soon, certificate(t, true, inAYear()))
	expect(fmt.Sprintf(`s3_tls_pods{namespace="%s",state="current"} 0`, soon), fmt.Sprintf(`s3_tls_pods{namespace="%s",state="stale"} 1`, soon))
	if left := metric(t, injector, fmt.Sprintf(`s3_tls_ca_problem{kind="Secret",name="s3-tls-cert",namespace="%s"`, soon)); left != "" {
		t.Errorf("problems of a valid CA: %s", left)
	}
}

// asMetric writes a value as the server does.
func asMetric(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
