package cluster

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/s3-tls-injector/s3-tls-injector/e2e/localcluster"
)

// applyAs applies a manifest with some texts replaced: the same products, somewhere else.
func applyAs(t *testing.T, manifest string, replacements ...string) {
	t.Helper()
	text, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	say(t, "applying %s with %v", manifest, replacements)
	if _, err := runKubectl(t.Context(), strings.NewReplacer(replacements...).Replace(string(text)), "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
}

// cert-manager renews the CA of the storage, with a new key. trust-manager gives old and
// new one to the pods' namespace, the injector replaces the pods one by one, then the
// storage takes a certificate of the new CA. Writes and queries go on.
func TestRotation(t *testing.T) {
	t.Parallel()
	const storage, namespace, tracing, bundle = "rotation-storage", "rotation", "rotation-traces", "storage-bundle"
	clean(t, storage)
	clean(t, namespace)
	clean(t, tracing)
	t.Cleanup(func() {
		for _, object := range []string{"injectionpolicy/rotating-storage", "bundle/" + bundle} {
			if _, err := runKubectl(context.Background(), "", "delete", object, "--ignore-not-found", "--wait=false"); err != nil {
				t.Error(err)
			}
		}
	})
	applyAs(t, "manifests/storage.yaml", "namespace: storage", "namespace: "+storage, "name: storage", "name: "+storage, ".storage.", "."+storage+".")
	kubectl(t, "-n", storage, "wait", "--for=condition=Ready", "--timeout=1m", "certificate", "--all")
	kubectl(t, "-n", storage, "rollout", "status", "--timeout=3m", "deployment/minio")
	kubectl(t, "apply", "--server-side", "-f", filepath.Join(assets, "trust-manager-crds"))
	kubectl(t, "apply", "-f", "manifests/trust-manager.yaml")
	kubectl(t, "-n", "trust-manager", "rollout", "status", "--timeout=3m", "deployment/trust-manager")
	apply(t, "manifests/rotation.yaml")
	kubectl(t, "wait", "--for=condition=Ready", "--timeout=1m", "injectionpolicy/rotating-storage")
	blocks, found := newBucketIn(t, storage, "thanos"), newBucketIn(t, storage, "tempo")

	for name, manifest := range map[string]string{namespace: "thanos", tracing: "tempo"} {
		kubectl(t, "create", "namespace", name)
		kubectl(t, "label", "namespace", name, "storage=rotating", "pod-security.kubernetes.io/enforce=restricted")
		eventually(t, time.Minute, "trust-manager to give the CA to "+name, holds(name, bundle, caOf(t, storage)))
		applyAs(t, "manifests/"+manifest+".yaml", "namespace: metrics", "namespace: "+name, "name: metrics", "name: "+name, ".metrics.", "."+name+".",
			"namespace: traces", "namespace: "+name, "name: traces", "name: "+name, ".storage.", "."+storage+".")
	}
	kubectl(t, "-n", namespace, "scale", "statefulset", "store", "--replicas=2")
	kubectl(t, "-n", namespace, "create", "poddisruptionbudget", "rule", "--selector=app=rule", "--min-available=1")
	workloads := map[string][]string{namespace: {"receive", "store", "compact", "rule", "prometheus"}, tracing: {"tempo"}}
	for name, sets := range workloads {
		for _, set := range sets {
			kubectl(t, "-n", name, "rollout", "status", "--timeout=3m", "statefulset/"+set)
		}
	}
	publicRoots(t, storage, namespace)
	writeSamples(t, namespace)
	eventually(t, 3*time.Minute, "receive to upload a block", hasBlockOf(blocks, 1))
	service := sendTraces(t, tracing, "tempo")
	eventually(t, 2*time.Minute, "the traces to reach the bucket", holdsTraces(found))
	condition := kubectl(t, "get", "injectionpolicy", "rotating-storage", "-o", `jsonpath={.status.conditions[?(@.type=="CAValid")].reason}`)
	if condition != "Valid" {
		t.Errorf("the policy says of its CA: %s", condition)
	}

	before := podsOf(t, namespace, tracing)
	watch := watchWorkload(t, namespace, "store")
	say(t, "renewing the CA")
	old := caOf(t, storage)
	file := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(file, []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	kubectl(t, "-n", storage, "create", "configmap", "s3-ca-old", "--from-file="+file)
	kubectl(t, "patch", "bundle", bundle, "--type=json", "-p", `[{"op":"add","path":"/spec/sources/-","value":{"configMap":{"name":"s3-ca-old","key":"ca.crt"}}}]`)
	renew(t, storage, "s3-ca")
	if caOf(t, storage) == old {
		t.Fatal("the renewed CA is the old one")
	}
	for name, sets := range workloads {
		eventually(t, time.Minute, "trust-manager to give both to "+name, holds(name, bundle, old, caOf(t, storage)))
		for _, set := range sets {
			if set != "rule" {
				eventually(t, 4*time.Minute, set+" to be replaced", carry(name, set, bundle))
			}
		}
	}
	eventually(t, time.Minute, "the budget of rule to be respected", event(namespace, "rule", "RotationBlocked", `pod "rule-0" is not replaced yet: a PodDisruptionBudget does not allow its eviction now`))
	after := podsOf(t, namespace, tracing)
	if after["rule-0"] != before["rule-0"] {
		t.Error("rule was replaced against its PodDisruptionBudget")
	}
	for pod, uid := range before {
		if strings.HasPrefix(pod, "query-") && after[pod] != uid {
			t.Error("query was replaced, which carries no CA")
		}
	}
	kubectl(t, "-n", namespace, "delete", "poddisruptionbudget", "rule")
	eventually(t, 2*time.Minute, "rule to be replaced", carry(namespace, "rule", bundle))
	if ready := watch(); ready < 1 {
		t.Errorf("of two replicas of store %d were ready at one time", ready)
	}

	say(t, "giving the storage a certificate of the new CA")
	renew(t, storage, "minio-tls")
	address := portForward(t, storage, "service/minio", "9000")
	eventually(t, 5*time.Minute, "the storage to serve it", servesCertificateOf(address, caOf(t, storage)))
	blocks = openBucket(t, storage, "thanos")
	held := countBlocks(t, blocks)
	sample := writeSamples(t, namespace)
	eventually(t, 3*time.Minute, "receive to upload another block", hasBlockOf(blocks, held+1))
	eventually(t, 2*time.Minute, "query to answer", answers(namespace, sample))
	findTraces(t, tracing, "tempo-0", service)
	for name, sets := range workloads {
		for _, set := range sets {
			container := map[string]string{"prometheus": "thanos-sidecar"}[set]
			if container == "" {
				container = set
			}
			out, err := runKubectl(t.Context(), "", "-n", name, "logs", set+"-0", "-c", container)
			if err != nil || strings.Contains(out, "x509") {
				t.Errorf("%s did not trust the storage at some time (%v):\n%s", set, err, out)
			}
		}
	}
}

// publicRoots shows why the bundle holds the public roots: images whose roots are in a file
// alone lose them with a CA alone.
func publicRoots(t *testing.T, storage, namespace string) {
	t.Helper()
	applyAs(t, "manifests/public-host.yaml", "namespace: system-roots", "namespace: "+namespace, "name: system-roots", "name: "+namespace, ".system-roots.", "."+namespace+".")
	file := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(file, []byte(caOf(t, storage)), 0o600); err != nil {
		t.Fatal(err)
	}
	kubectl(t, "-n", namespace, "create", "configmap", "storage-ca", "--from-file="+file)
	kubectl(t, "-n", namespace, "wait", "--for=condition=Ready", "--timeout=1m", "pod/public")
	kubectl(t, "-n", namespace, "apply", "-f", "manifests/public-client.yaml")
	eventually(t, time.Minute, "the client with the bundle to trust both", succeeded(namespace, "with-public-roots"))
	eventually(t, time.Minute, "the client with the CA alone to fail", phase(namespace, "with-the-ca-alone", corev1.PodFailed))
	out, err := logsOf(t.Context(), namespace, "with-the-ca-alone", "probe")
	if err != nil || !strings.Contains(out, "trusted: https://minio."+storage+".svc") || !strings.Contains(out, untrusted) {
		t.Errorf("with the CA alone it should trust the storage and not the public host (%v):\n%s", err, out)
	}
}

// caOf returns the CA that cert-manager runs for a storage, as PEM.
func caOf(t *testing.T, storage string) string {
	t.Helper()
	secret, err := client.CoreV1().Secrets(storage).Get(t.Context(), "s3-ca", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return string(secret.Data["ca.crt"])
}

// holds returns an error unless a ConfigMap holds all of these certificates.
func holds(namespace, name string, certificates ...string) func(context.Context) error {
	return func(ctx context.Context) error {
		found, err := client.CoreV1().ConfigMaps(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, c := range certificates {
			if !strings.Contains(found.Data["ca.crt"], strings.TrimSpace(c)) {
				return errors.New("one is not in it")
			}
		}
		return nil
	}
}

// carry returns an error unless all pods of a StatefulSet are ready and say that they
// carry what is in a ConfigMap now.
func carry(namespace, set, configMap string) func(context.Context) error {
	return func(ctx context.Context) error {
		found, err := client.CoreV1().ConfigMaps(namespace).Get(ctx, configMap, metav1.GetOptions{})
		if err != nil {
			return err
		}
		pods, err := client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=" + set})
		if err != nil || len(pods.Items) == 0 {
			return fmt.Errorf("%d pods: %w", len(pods.Items), err)
		}
		for i := range pods.Items {
			p := &pods.Items[i]
			if p.Annotations["s3-tls/ca-sha256"] != fingerprint([]byte(found.Data["ca.crt"])) {
				return fmt.Errorf("pod %s carries the CA %s", p.Name, p.Annotations["s3-tls/ca-sha256"])
			}
			if !isReady(p) {
				return fmt.Errorf("pod %s is not ready", p.Name)
			}
		}
		return nil
	}
}

func fingerprint(file []byte) string {
	sum := sha256.Sum256(file)
	return hex.EncodeToString(sum[:])
}

func isReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue && p.DeletionTimestamp == nil
		}
	}
	return false
}

// podsOf returns the identities of the pods in some namespaces.
func podsOf(t *testing.T, namespaces ...string) map[string]types.UID {
	t.Helper()
	all := map[string]types.UID{}
	for _, namespace := range namespaces {
		pods, err := client.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range pods.Items {
			all[pods.Items[i].Name] = pods.Items[i].UID
		}
	}
	return all
}

// watchWorkload counts the ready pods of a workload from now on. What it returns ends that,
// and returns the smallest number.
func watchWorkload(t *testing.T, namespace, app string) (least func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	var done sync.WaitGroup
	smallest := 1 << 10
	done.Go(func() {
		for ; ctx.Err() == nil; time.Sleep(100 * time.Millisecond) {
			pods, err := client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=" + app})
			if err != nil {
				continue
			}
			ready := 0
			for i := range pods.Items {
				if isReady(&pods.Items[i]) {
					ready++
				}
			}
			smallest = min(smallest, ready)
		}
	})
	return func() int {
		cancel()
		done.Wait()
		return smallest
	}
}

// renew makes cert-manager issue a certificate again.
func renew(t *testing.T, namespace, name string) {
	t.Helper()
	revision := func(ctx context.Context) (int, error) {
		c, err := certManager.CertmanagerV1().Certificates(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil || c.Status.Revision == nil {
			return 0, err
		}
		return *c.Status.Revision, nil
	}
	before, err := revision(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "the renewal of "+name+" to be taken", func(ctx context.Context) error {
		return localcluster.RequestRenewal(ctx, certManager, namespace, name)
	})
	eventually(t, time.Minute, name+" to be issued again", func(ctx context.Context) error {
		if now, err := revision(ctx); err != nil || now <= before {
			return fmt.Errorf("it is at revision %d: %w", now, err)
		}
		return nil
	})
}

// servesCertificateOf returns an error unless a server has a certificate of a CA.
func servesCertificateOf(address, authority string) func(context.Context) error {
	return func(ctx context.Context) error {
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM([]byte(authority))
		dialer := tls.Dialer{Config: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
		connection, err := dialer.DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		return connection.Close()
	}
}

func countBlocks(t *testing.T, blocks bucket) int {
	t.Helper()
	keys, err := blocks.keys(t.Context(), "meta.json")
	if err != nil {
		t.Fatal(err)
	}
	return len(keys)
}

func hasBlockOf(blocks bucket, least int) func(context.Context) error {
	return func(ctx context.Context) error {
		keys, err := blocks.keys(ctx, "meta.json")
		if err == nil && len(keys) < least {
			err = fmt.Errorf("there are %d blocks", len(keys))
		}
		return err
	}
}

// newExpiredCA returns a CA of yesterday, as PEM, and its key.
func newExpiredCA(t *testing.T) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Old storage CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().AddDate(0, -1, 0), NotAfter: time.Now().AddDate(0, 0, -1), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

// A CA that has expired, a leaf in its place, a private key beside it: each is told to the
// user, the owner of the pods and Prometheus. The pods run, and none has the key.
func TestBadCA(t *testing.T) {
	t.Parallel()
	const namespace = "bad-ca"
	clean(t, namespace)
	apply(t, "manifests/bad-ca.yaml")
	eventually(t, time.Minute, "the owner to be told of the missing CA", event(namespace, "web", "CAMissing", `Secret s3-tls-cert: it is missing in namespace "bad-ca"; create it there`))
	eventually(t, time.Minute, "Prometheus to be told", hasProblem(namespace, "missing"))

	expired, key := newExpiredCA(t)
	leaf, err := client.CoreV1().Secrets("storage").Get(t.Context(), "minio-tls", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what            string
		data            map[string][]byte
		reason, warning string
		problem         string
	}{
		{"an expired CA", map[string][]byte{"ca.crt": expired}, "CAExpired", "Secret s3-tls-cert[ca.crt]: certificate 1 (Old storage CA) expired on ", "expired"},
		{"a leaf", map[string][]byte{"ca.crt": leaf.Data["tls.crt"]}, "CAInvalid", "is no CA; put the CA that issued it there", "not-a-ca"},
		{
			"a private key beside the CA",
			map[string][]byte{"ca.crt": leaf.Data["ca.crt"], "tls.key": key},
			"CAProblem", "the object holds a private key too, in tls.key; keep the CA in one of its own", "private-key",
		},
	} {
		say(t, "giving %s", c.what)
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "s3-tls-cert"}, Data: c.data}
		if _, err := client.CoreV1().Secrets(namespace).Update(t.Context(), secret, metav1.UpdateOptions{}); err != nil {
			if _, err = client.CoreV1().Secrets(namespace).Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, time.Minute, "Prometheus to be told", hasProblem(namespace, c.problem))
		replace(t, namespace, "web-0")
		eventually(t, time.Minute, "the owner to be told", event(namespace, "web", c.reason, c.warning))
		if warned := warnings(t, "manifests/keys.yaml"); !strings.Contains(warned, "Warning: ") || !strings.Contains(warned, c.warning) {
			t.Errorf("kubectl shows %q, want a warning with %q", warned, c.warning)
		}
		eventually(t, time.Minute, "the pod to run without a private key", succeeded(namespace, "keys"))
		out, err := logsOf(t.Context(), namespace, "keys", "probe")
		if err != nil || !strings.Contains(out, "looked into /etc/ssl/certs/s3-ca.crt") {
			t.Errorf("the pod did not look into the CA (%v): %s", err, out)
		}
		kubectl(t, "-n", namespace, "delete", "pod", "keys", "--timeout=1m")
	}
}

// warnings applies a manifest and returns what kubectl says on standard error.
func warnings(t *testing.T, manifest string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(assets, "kubectl"), "apply", "-f", manifest)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, &stderr)
	}
	return stderr.String()
}

// hasProblem returns an error unless a replica tells of a problem of the CA.
func hasProblem(namespace, problem string) func(context.Context) error {
	want := fmt.Sprintf(`s3_tls_ca_problem{kind="Secret",name="s3-tls-cert",namespace=%q,problem=%q} 1`, namespace, problem)
	return func(ctx context.Context) error {
		replicas, err := client.CoreV1().Pods(injectorName).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=" + injectorName})
		if err != nil {
			return err
		}
		for i := range replicas.Items {
			out, err := get(ctx, injectorName, replicas.Items[i].Name, "8080", "/metrics", nil)
			if err == nil && strings.Contains(string(out), want) {
				return nil
			}
		}
		return errors.New("no replica does")
	}
}
