package apiserver

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"maps"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/s3-tls-injector/s3-tls-injector/e2e/localcluster"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/cli"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/doctor"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/endpoint/endpointtest"
)

// kubectlS3TLS runs the tool against a cluster.
func kubectlS3TLS(t *testing.T, kubeconfig string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errOut bytes.Buffer
	status = cli.Run(t.Context(), append(args, "--kubeconfig="+kubeconfig), cli.Streams{In: strings.NewReader(""), Out: &out, Err: &errOut, Now: time.Now})
	return status, out.String(), errOut.String()
}

// examine runs doctor, and returns what it finds in the namespace: the replicas of the injector
// are never ready here, where there is no node.
func examine(t *testing.T, args ...string) []doctor.Finding {
	t.Helper()
	status, stdout, stderr := kubectlS3TLS(t, cluster.Kubeconfig, append([]string{"doctor", "-o", "json"}, args...)...)
	var answer struct{ Findings []doctor.Finding }
	if err := json.Unmarshal([]byte(stdout), &answer); err != nil {
		t.Fatalf("status %d, %v: %s", status, err, stderr)
	}
	if want := cli.ExitFindings; status != want {
		t.Errorf("exit status %d, want %d for the injector's replicas alone", status, want)
	}
	return slices.DeleteFunc(answer.Findings, func(f doctor.Finding) bool {
		return f.Code == doctor.InjectorNotReady && f.Target.Namespace == "s3-tls-injector"
	})
}

// codesOf returns the codes of findings, each with its severity and text: "error ca-expired: …".
func codesOf(found []doctor.Finding) map[string]string {
	all := map[string]string{}
	for _, f := range found {
		all[string(f.Severity)+" "+string(f.Code)] = f.Text
		if f.Text == "" || f.Fix == "" || strings.Contains(f.Text+f.Fix, "\n") {
			all["bad finding "+string(f.Code)] = fmt.Sprintf("%+v", f)
		}
	}
	return all
}

// planted is in every Secret that holds credentials; nothing may print or save it.
const planted = "planted-credential"

// objstore is a configuration of Thanos.
func objstore(endpoint string, more ...string) string {
	return fmt.Sprintf("type: S3\nconfig:\n  bucket: blocks\n  endpoint: %q\n  access_key: %s\n  secret_key: %s\n", endpoint, planted, planted) + strings.Join(more, "\n")
}

// patient is a Thanos store in a namespace of its own.
type patient struct {
	namespace string
	pod       *corev1.Pod
	objects   []client.Object
	config    string
}

// ca is a Secret with the CA.
func ca(file []byte, more ...func(*corev1.Secret)) *corev1.Secret {
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s3-tls-cert"}, Data: map[string][]byte{"ca.crt": file}}
	for _, tweak := range more {
		tweak(secret)
	}
	return secret
}

// admit creates what the test is about: a namespace, objects, the configuration, the pod.
func admit(t *testing.T, c client.Client, labels map[string]string, p *patient) {
	t.Helper()
	p.namespace = newNamespace(t, c, labels, nil)
	if p.config != "" {
		p.objects = append(p.objects, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "objstore"}, Data: map[string][]byte{"objstore.yml": []byte(p.config)}})
	}
	if p.pod != nil {
		p.objects = append(p.objects, p.pod)
	}
	for _, o := range p.objects {
		o.SetNamespace(p.namespace)
		if event, ok := o.(*corev1.Event); ok {
			event.InvolvedObject.Namespace = p.namespace
		}
		if err := c.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
}

// store is a pod whose configuration is in a Secret.
func store(tweaks ...func(*corev1.Pod)) *corev1.Pod {
	pod := newPod("", optIn)
	pod.Spec.Volumes = []corev1.Volume{{Name: "objstore", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "objstore"}}}}
	pod.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "objstore", MountPath: "/etc/thanos"}}
	pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "AWS_SECRET_ACCESS_KEY", Value: planted}}
	for _, tweak := range tweaks {
		tweak(pod)
	}
	return pod
}

// byHand is one that is not injected and has the CA from its own volume.
func byHand() *corev1.Pod {
	return store(notOptedIn, func(p *corev1.Pod) {
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: "tls", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "s3-tls-cert"}}})
		p.Spec.Containers[0].VolumeMounts = append(p.Spec.Containers[0].VolumeMounts, corev1.VolumeMount{Name: "tls", MountPath: "/tls"})
	})
}

func notOptedIn(p *corev1.Pod) { delete(p.Annotations, "s3-tls/inject") }

// Each fault is made for real, and found with its code; nothing else is found beside it.
func TestDoctorFindsEachFault(t *testing.T) {
	c, _ := newClient(t)
	now := time.Now()
	issue := func(name string, by *endpointtest.Issued, tweak func(*x509.Certificate)) *endpointtest.Issued {
		return endpointtest.Issue(t, name, by, now, tweak)
	}
	root, stranger := issue("S3 root", nil, endpointtest.IsCA), issue("Other CA", nil, endpointtest.IsCA)
	between := issue("S3 intermediate", root, endpointtest.IsCA)
	leaf := issue("minio", root, endpointtest.IsServer)
	under := issue("minio", between, endpointtest.IsServer)
	expired := issue("minio", root, func(c *x509.Certificate) { endpointtest.IsServer(c); c.NotAfter = now.AddDate(0, 0, -2) })
	early := issue("minio", root, func(c *x509.Certificate) { endpointtest.IsServer(c); c.NotBefore = now.AddDate(0, 0, 2) })
	renamed := issue("minio", root, func(c *x509.Certificate) { c.DNSNames = []string{"minio.example.com"} })
	renewed := issue("S3 root", nil, endpointtest.IsCA)
	good := endpointtest.PEM(root)
	trusted := endpointtest.Serve(t, leaf)
	port := func(address string) string { _, port, _ := net.SplitHostPort(address); return port }

	admit(t, c, nil, &patient{objects: []client.Object{ca(good)}}) // a namespace to copy the CA from
	printed := map[string]string{}
	seen := map[doctor.Code]bool{"log-errors": true} // which needs a kubelet: it is made where there is one
	for name, tt := range map[string]struct {
		patient patient
		labels  map[string]string
		args    []string
		want    []string // severity and code
		text    string   // in one of the findings
	}{
		"nothing":            {patient: patient{pod: store(), config: objstore(trusted), objects: []client.Object{ca(good)}}},
		"trusted with chain": {patient: patient{pod: store(), config: objstore(endpointtest.Serve(t, under, between)), objects: []client.Object{ca(good)}}},
		"endpoint by a flag": {patient: patient{objects: []client.Object{ca(good), newPod("", func(p *corev1.Pod) {
			optIn(p)
			p.Spec.Containers[0].Args = []string{"store", "--objstore.config=" + objstore(trusted)}
		})}}},
		"named endpoint": {patient: patient{objects: []client.Object{ca(good), newPod("", func(p *corev1.Pod) {
			optIn(p)
			p.Spec.Containers[0].Args = []string{"store", "--objstore.config=" + objstore(trusted)}
		})}}, args: []string{"--endpoint=" + endpointtest.Closed(t)}, want: []string{"error endpoint-refused"}},
		"configuration by an env variable of a Secret": {patient: patient{config: objstore(endpointtest.Closed(t)), objects: []client.Object{ca(good), newPod("", func(p *corev1.Pod) {
			optIn(p)
			p.Spec.Containers[0].Args = []string{"store", "--objstore.config=$(OBJSTORE)"}
			p.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "OBJSTORE", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "objstore"}, Key: "objstore.yml"}}}}
		})}}, want: []string{"error endpoint-refused"}},

		// The endpoint
		"unknown authority":     {patient: patient{pod: store(), config: objstore(endpointtest.Serve(t, leaf, root)), objects: []client.Object{ca(endpointtest.PEM(stranger))}}, want: []string{"error endpoint-unknown-authority"}, text: `its certificate is signed by "S3 root", sha256:`},
		"a leaf alone":          {patient: patient{pod: store(), config: objstore(trusted), objects: []client.Object{ca(endpointtest.PEM(stranger))}}, want: []string{"error endpoint-unknown-authority"}, text: `is signed by "S3 root", which it does not send; Secret s3-tls-cert[ca.crt] holds "Other CA", sha256:`},
		"a renewed CA":          {patient: patient{pod: store(), config: objstore(trusted), objects: []client.Object{ca(endpointtest.PEM(renewed))}}, want: []string{"error endpoint-unknown-authority"}, text: `signed by another key of "S3 root"`},
		"missing intermediate":  {patient: patient{pod: store(), config: objstore(endpointtest.Serve(t, under, root)), objects: []client.Object{ca(good)}}, want: []string{"error endpoint-missing-intermediate"}, text: `not the intermediate certificate "S3 intermediate"`},
		"expired":               {patient: patient{pod: store(), config: objstore(endpointtest.Serve(t, expired)), objects: []client.Object{ca(good)}}, want: []string{"error endpoint-expired"}, text: "expired on " + now.AddDate(0, 0, -2).UTC().Format(time.DateOnly)},
		"not yet valid":         {patient: patient{pod: store(), config: objstore(endpointtest.Serve(t, early)), objects: []client.Object{ca(good)}}, want: []string{"error endpoint-not-yet-valid"}},
		"another name":          {patient: patient{pod: store(), config: objstore(endpointtest.Serve(t, renamed)), objects: []client.Object{ca(good)}}, want: []string{"error endpoint-name"}, text: "its certificate is for minio.example.com, and not for 127.0.0.1"},
		"refused":               {patient: patient{pod: store(), config: objstore(endpointtest.Closed(t)), objects: []client.Object{ca(good)}}, want: []string{"error endpoint-refused"}},
		"timeout":               {patient: patient{pod: store(), config: objstore(endpointtest.ServeText(t, "")), objects: []client.Object{ca(good)}}, args: []string{"--timeout=1s"}, want: []string{"error endpoint-timeout"}},
		"plain HTTP":            {patient: patient{pod: store(), config: objstore(endpointtest.ServeHTTP(t)), objects: []client.Object{ca(good)}}, want: []string{"error endpoint-plain-http"}},
		"no TLS":                {patient: patient{pod: store(), config: objstore(endpointtest.ServeText(t, "220 mail.example.com ESMTP ready\r\n")), objects: []client.Object{ca(good)}}, want: []string{"error endpoint-no-tls"}},
		"hangs up":              {patient: patient{pod: store(), config: objstore(endpointtest.HangUp(t)), objects: []client.Object{ca(good)}}, want: []string{"error endpoint-unreached"}},
		"old TLS":               {patient: patient{pod: store(), config: objstore(endpointtest.ServeTLS(t, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, leaf)), objects: []client.Object{ca(good)}}, want: []string{"error endpoint-tls-version"}, text: "it speaks TLS 1.1"},
		"client certificate":    {patient: patient{pod: store(), config: objstore(endpointtest.ServeTLS(t, &tls.Config{MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12, ClientAuth: tls.RequireAnyClientCert}, leaf)), objects: []client.Object{ca(good)}}, want: []string{"error endpoint-handshake"}},
		"no such name":          {patient: patient{pod: store(), config: objstore("minio.does-not-exist.invalid:9000"), objects: []client.Object{ca(good)}}, want: []string{"error endpoint-dns"}},
		"a name of the cluster": {patient: patient{pod: store(), config: objstore("minio.storage.svc:9000"), objects: []client.Object{ca(good)}}, want: []string{"unknown not-checked"}, text: "its name is not known here"},

		// The configuration
		"not there":              {patient: patient{pod: store(), objects: []client.Object{ca(good)}}, want: []string{"error config-missing"}},
		"no YAML":                {patient: patient{pod: store(), config: planted, objects: []client.Object{ca(good)}}, want: []string{"error config-invalid"}},
		"no bucket, no endpoint": {patient: patient{pod: store(), config: "type: S3\nconfig: {}", objects: []client.Object{ca(good)}}, want: []string{"error config-no-bucket", "error config-no-endpoint"}},
		"a scheme":               {patient: patient{pod: store(), config: objstore("https://" + trusted), objects: []client.Object{ca(good)}}, want: []string{"error config-scheme"}},
		"insecure":               {patient: patient{pod: store(), config: objstore(trusted, "  insecure: true"), objects: []client.Object{ca(good)}}, want: []string{"error config-insecure"}},
		"insecure with 443":      {patient: patient{pod: store(), config: objstore("127.0.0.1:443", "  insecure: true"), objects: []client.Object{ca(good)}}, want: []string{"error config-insecure", "warning config-port"}},
		"skip verify":            {patient: patient{pod: store(), config: objstore(trusted, "  http_config: {insecure_skip_verify: true}"), objects: []client.Object{ca(good)}}, want: []string{"warning config-skip-verify"}},
		"skip verify, dead":      {patient: patient{pod: store(), config: objstore(trusted, "  http_config: {tls_config: {insecure_skip_verify: true}}"), objects: []client.Object{ca(good)}}, want: []string{"warning config-skip-verify-dead"}},
		"another CA file":        {patient: patient{pod: store(), config: objstore(trusted, "  http_config: {tls_config: {ca_file: /certs/ca.crt}}"), objects: []client.Object{ca(good)}}, want: []string{"error config-ca-file"}, text: "where nothing is mounted"},
		"a mounted CA file":      {patient: patient{pod: store(), config: objstore(trusted, "  http_config: {tls_config: {ca_file: /etc/thanos/ca.crt}}"), objects: []client.Object{ca(good)}}, want: []string{"warning config-ca-file"}, text: "takes the place of the injected /etc/ssl/certs/s3-ca.crt"},
		"our CA file":            {patient: patient{pod: store(), config: objstore(trusted, "  http_config: {tls_config: {ca_file: /etc/ssl/certs/s3-ca.crt}}"), objects: []client.Object{ca(good)}}},

		// The CA
		"no CA":            {patient: patient{pod: store(), config: objstore(trusted)}, want: []string{"error ca-missing"}, text: "Secret s3-tls-cert: it is missing in namespace"},
		"no key":           {patient: patient{pod: store(), config: objstore(trusted), objects: []client.Object{ca(good, func(s *corev1.Secret) { s.Data = map[string][]byte{"root.crt": good} })}}, want: []string{"error ca-missing"}, text: "the key is missing"},
		"expired CA":       {patient: patient{pod: store(), config: objstore(endpointtest.Closed(t)), objects: []client.Object{ca(certificate(t, true, now.AddDate(0, 0, -2)))}}, want: []string{"error ca-expired", "error endpoint-refused"}},
		"expires soon":     {patient: patient{pod: store(), config: objstore(endpointtest.Closed(t)), objects: []client.Object{ca(certificate(t, true, now.AddDate(0, 0, 5)))}}, want: []string{"error endpoint-refused", "warning ca-expires-soon"}},
		"a leaf as CA":     {patient: patient{pod: store(), config: objstore(trusted), objects: []client.Object{ca(endpointtest.PEM(leaf))}}, want: []string{"error ca-not-a-ca"}},
		"no PEM":           {patient: patient{pod: store(), config: objstore(trusted), objects: []client.Object{ca([]byte(planted))}}, want: []string{"error ca-no-certificate"}},
		"a key beside it":  {patient: patient{pod: store(), config: objstore(trusted), objects: []client.Object{ca(good, func(s *corev1.Secret) { s.Data["tls.key"] = endpointtest.KeyPEM(t, leaf) })}}, want: []string{"warning ca-private-key"}},
		"a key in it":      {patient: patient{pod: store(), config: objstore(trusted), objects: []client.Object{ca(slices.Concat(good, endpointtest.KeyPEM(t, root)))}}, want: []string{"error ca-private-key", "error pod-skipped"}},
		"an empty file":    {patient: patient{pod: store(), config: objstore(trusted), objects: []client.Object{ca(nil)}}, want: []string{"error ca-empty"}},
		"DER":              {patient: patient{pod: store(), config: objstore(trusted), objects: []client.Object{ca(root.Raw)}}, want: []string{"error ca-not-pem"}},
		"cut off":          {patient: patient{pod: store(), config: objstore(trusted), objects: []client.Object{ca(slices.Concat(good, good[:80]))}}, want: []string{"warning ca-malformed"}},
		"PEM headers":      {patient: patient{pod: store(), config: objstore(trusted), objects: []client.Object{ca(withHeader(root.Raw))}}, want: []string{"error ca-pem-headers"}},
		"CRL":              {patient: patient{pod: store(), config: objstore(trusted), objects: []client.Object{ca(slices.Concat(good, pem.EncodeToMemory(&pem.Block{Type: "X509 CRL"})))}}, want: []string{"warning ca-other-block"}},
		"CA of clients":    {patient: patient{pod: store(), config: objstore(endpointtest.Closed(t)), objects: []client.Object{ca(endpointtest.PEM(issue("x", nil, func(c *x509.Certificate) { endpointtest.IsCA(c); c.KeyUsage = x509.KeyUsageCRLSign })))}}, want: []string{"error ca-key-usage", "error endpoint-refused"}},
		"CA of tomorrow":   {patient: patient{pod: store(), config: objstore(endpointtest.Closed(t)), objects: []client.Object{ca(endpointtest.PEM(issue("x", nil, func(c *x509.Certificate) { endpointtest.IsCA(c); c.NotBefore = now.AddDate(0, 0, 1) })))}}, want: []string{"error ca-not-yet-valid", "error endpoint-refused"}},
		"a weak key":       {patient: patient{pod: store(), config: objstore(endpointtest.Closed(t)), objects: []client.Object{ca(weakCA(t))}}, want: []string{"error endpoint-refused", "warning ca-weak-key"}},
		"a weak signature": {patient: patient{pod: store(), config: objstore(endpointtest.Closed(t)), objects: []client.Object{ca(sha1CA(t))}}, want: []string{"error endpoint-refused", "warning ca-weak-signature"}},
		"twice":            {patient: patient{pod: store(), config: objstore(trusted), objects: []client.Object{ca(slices.Concat(good, good))}}, want: []string{"warning ca-duplicate"}},

		// Opting in
		"not opted in":                 {patient: patient{pod: store(notOptedIn), config: objstore(trusted), objects: []client.Object{ca(good)}}, want: []string{"error endpoint-unknown-authority", "warning not-opted-in"}},
		"opted out":                    {patient: patient{pod: store(func(p *corev1.Pod) { p.Annotations["s3-tls/inject"] = "false" }), config: objstore(trusted)}, want: []string{"error endpoint-unknown-authority"}, text: "no CA is given to trust it by"},
		"opted out, plain":             {patient: patient{pod: store(func(p *corev1.Pod) { p.Annotations["s3-tls/inject"] = "false" }), config: objstore("127.0.0.1:9", "  insecure: true")}, want: []string{"error config-insecure"}},
		"wired by hand":                {patient: patient{pod: byHand(), config: objstore(trusted, "  http_config: {tls_config: {ca_file: /tls/ca.crt}}"), objects: []client.Object{ca(good)}}},
		"wrong CA by hand":             {patient: patient{pod: byHand(), config: objstore(trusted, "  http_config: {tls_config: {ca_file: /tls/ca.crt}}"), objects: []client.Object{ca(endpointtest.PEM(stranger))}}, want: []string{"error endpoint-unknown-authority"}, text: `holds "Other CA"`},
		"a variable that is not known": {patient: patient{pod: store(), config: objstore("$(ENDPOINT)"), objects: []client.Object{ca(good)}}, want: []string{"unknown not-checked"}, text: "hold a variable"},
		"a configuration that a shell makes": {patient: patient{objects: []client.Object{ca(good), newPod("", func(p *corev1.Pod) {
			optIn(p)
			p.Spec.Containers[0].Command, p.Spec.Containers[0].Args = []string{"sh", "-c"}, []string{`thanos store --objstore.config="$(printf 'secret_key: ` + planted + `')"`}
		})}}, want: []string{"unknown not-checked"}, text: "a shell makes it"},
		"a client certificate":        {patient: patient{pod: store(), config: objstore(endpointtest.ServeTLS(t, &tls.Config{MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12, ClientAuth: tls.RequireAnyClientCert}, leaf), "  http_config: {tls_config: {cert_file: /a, key_file: /b}}"), objects: []client.Object{ca(good)}}},
		"a name of the configuration": {patient: patient{pod: store(), config: objstore(endpointtest.Serve(t, renamed), "  http_config: {tls_config: {server_name: minio.example.com}}"), objects: []client.Object{ca(good)}}},
		"no client": {patient: patient{pod: newPod("", func(p *corev1.Pod) {
			notOptedIn(p)
			p.Spec.Containers[0].Image, p.Spec.Containers[0].Args = "nginx", nil
		})}},
		"conflict": {patient: patient{pod: store(func(p *corev1.Pod) {
			p.Spec.Containers[0].VolumeMounts = append(p.Spec.Containers[0].VolumeMounts, corev1.VolumeMount{Name: "objstore", MountPath: "/etc/ssl/certs/s3-ca.crt", SubPath: "x"})
		}), config: objstore(trusted), objects: []client.Object{ca(good)}}, want: []string{"error pod-skipped"}, text: "conflict: spec.containers[0].volumeMounts"},
		"namespace misspelt": {patient: patient{}, labels: map[string]string{"s3-tls/injekt": "true"}, want: []string{"error inject-misspelt"}, text: "its label s3-tls/injekt is nearly s3-tls/inject"},
		"namespace, a value": {patient: patient{}, labels: map[string]string{"s3-tls/inject": "yes"}, want: []string{"error inject-misspelt"}, text: `its label s3-tls/inject is "yes"`},
		"on the workload":    {patient: patient{objects: []client.Object{statefulSet(func(s *appsv1.StatefulSet) { s.Annotations = map[string]string{"s3-tls/inject": "true"} })}}, want: []string{"error inject-on-workload"}},
		"as a label":         {patient: patient{objects: []client.Object{statefulSet(func(s *appsv1.StatefulSet) { s.Spec.Template.Labels["s3-tls/inject"] = "true" })}}, want: []string{"error inject-as-label"}},
		"a pod's label":      {patient: patient{pod: store(notOptedIn, func(p *corev1.Pod) { p.Labels = map[string]string{"s3-tls/inject": "true"} }), config: objstore(trusted), objects: []client.Object{ca(good)}}, want: []string{"error endpoint-unknown-authority", "error inject-as-label"}},
		"a pod's misspelt annotation": {patient: patient{pod: newPod("", func(p *corev1.Pod) {
			p.Annotations["s3-tls/injec"] = "true"
			p.Spec.Containers[0].Args = []string{"query"}
		}), objects: []client.Object{ca(good)}}, want: []string{"error inject-misspelt"}},
		"misspelt annotation": {patient: patient{objects: []client.Object{statefulSet(func(s *appsv1.StatefulSet) { s.Spec.Template.Annotations = map[string]string{"S3-TLS/injects": "true"} })}}, want: []string{"error inject-misspelt"}},
		"an invalid value":    {patient: patient{objects: []client.Object{statefulSet(func(s *appsv1.StatefulSet) { s.Spec.Template.Annotations = map[string]string{"s3-tls/inject": "yes"} })}}, want: []string{"error pod-refused"}, text: `"yes" is neither "true" nor "false"`},
		"pods are refused": {patient: patient{objects: []client.Object{statefulSet(nil), &corev1.Event{
			ObjectMeta: metav1.ObjectMeta{Name: "store.1"}, Reason: "FailedCreate", LastTimestamp: metav1.Now(), InvolvedObject: corev1.ObjectReference{Kind: "StatefulSet", Name: "store"},
			Message: `create Pod store-0 in StatefulSet store failed error: Internal error occurred: failed calling webhook "pod.inject.s3-tls": connection refused`,
		}}}, want: []string{"error pod-refused"}, text: "failed calling webhook"},
		"wrong port of the cluster": {patient: patient{pod: store(), config: objstore("localhost:" + port(endpointtest.Closed(t))), objects: []client.Object{ca(good)}}, want: []string{"error endpoint-refused"}},
	} {
		t.Run(name, func(t *testing.T) {
			admit(t, c, tt.labels, &tt.patient)
			file := filepath.Join(t.TempDir(), "case.json")
			args := append([]string{"-n", tt.patient.namespace, "--save", file}, tt.args...)
			found := examine(t, args...)
			all := codesOf(found)
			if diff := cmp.Diff(tt.want, slices.Sorted(maps.Keys(all)), cmp.Transformer("empty", func(s []string) []string { return append([]string{}, s...) })); diff != "" {
				t.Errorf("findings (-want +got):\n%s\n%v", diff, all)
			}
			if texts := strings.Join(slices.Collect(maps.Values(all)), "\n"); !strings.Contains(texts, tt.text) {
				t.Errorf("findings %q, want %q", texts, tt.text)
			}
			_, table, _ := kubectlS3TLS(t, cluster.Kubeconfig, "doctor", "--load", file)
			printed[name] = withoutChance(table, tt.patient.namespace)
			if name == "unknown authority" {
				_, findings, _ := kubectlS3TLS(t, cluster.Kubeconfig, "doctor", "--load", file, "-o", "json")
				printed[name+", as JSON"] = withoutChance(findings, tt.patient.namespace)
			}
			saved, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for what, text := range map[string]string{"the snapshot": string(saved), "the table": table, "a finding": fmt.Sprint(found)} {
				if strings.Contains(text, planted) || strings.Contains(text, "PRIVATE KEY") {
					t.Errorf("%s holds a credential:\n%s", what, text)
				}
			}
			for _, f := range found {
				seen[f.Code] = true
				if !strings.Contains(table, string(f.Code)) || !strings.Contains(table, "fix: "+f.Fix) {
					t.Errorf("the table of the snapshot lacks %s:\n%s", f.Code, table)
				}
			}
		})
	}
	for _, f := range slices.Concat(changesInTime(t, c, objstore(trusted), good), faultsOfTheInstall(t)) {
		seen[f.Code] = true
	}
	compareGolden(t, filepath.Join("testdata", "doctor.golden"), printed)
	for _, info := range doctor.Codes() {
		if !seen[info.Code] && !t.Failed() && !strings.Contains(flag.Lookup("test.run").Value.String(), "/") {
			t.Errorf("nothing here makes %s", info.Code)
		}
	}
}

// update rewrites what is compared with.
var update = flag.Bool("update", false, "rewrite the golden files")

// withoutChance replaces what differs from one run to the next.
func withoutChance(text, namespace string) string {
	text = strings.ReplaceAll(text, namespace, "test-names")
	for _, chance := range []struct{ pattern, by string }{
		{`\btest-[a-z0-9]{5}\b`, "test-names"}, // of another namespace
		{`(127\.0\.0\.1|localhost):\d+`, "$1:9000"},
		{`(read tcp \S+: read: connection reset by peer|EOF)`, "CLOSED"}, // by who is faster
		{`sha256:[0-9a-f]{64}`, "sha256:FINGERPRINT"},
		{`\d{4}-\d{2}-\d{2}(T[0-9:.]+Z)?`, "DATE"},
		{`"server": "[^"]*"`, `"server": "VERSION"`},
	} {
		text = regexp.MustCompile(chance.pattern).ReplaceAllString(text, chance.by)
	}
	return text
}

// compareGolden compares texts with those of a file; of a run of some subtests, with theirs.
func compareGolden(t *testing.T, file string, texts map[string]string) {
	t.Helper()
	if *update {
		var all txtar.Archive
		for _, name := range slices.Sorted(maps.Keys(texts)) {
			all.Files = append(all.Files, txtar.File{Name: name, Data: []byte(texts[name])})
		}
		if err := os.WriteFile(file, txtar.Format(&all), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	all, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for _, f := range all.Files {
		if _, ran := texts[f.Name]; ran {
			want[f.Name] = string(f.Data)
		}
	}
	if diff := cmp.Diff(want, texts); diff != "" {
		t.Errorf("what is printed (-%s +got; -update rewrites it):\n%s", file, diff)
	}
}

// changesInTime are faults of pods that are older than something else.
func changesInTime(t *testing.T, c client.Client, config string, good []byte) []doctor.Finding {
	t.Helper()
	p := &patient{pod: store(notOptedIn), config: config, objects: []client.Object{ca(good)}}
	admit(t, c, nil, p)
	injected := store(func(p *corev1.Pod) { p.Name = "injected" })
	injected.Namespace = p.namespace
	if err := c.Create(t.Context(), injected); err != nil {
		t.Fatal(err)
	}
	expect := func(pod string, want ...string) []doctor.Finding {
		t.Helper()
		found := examine(t, "-n", p.namespace, pod)
		if got := slices.Sorted(maps.Keys(codesOf(found))); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q: %v", pod, got, want, found)
		}
		return found
	}
	expect("injected")
	optInLater := client.MergeFrom(p.pod.DeepCopy())
	p.pod.Annotations = map[string]string{"s3-tls/inject": "true"}
	if err := c.Patch(t.Context(), p.pod, optInLater); err != nil {
		t.Fatal(err)
	}
	all := expect("thanos-store-0", "error not-injected")
	changed := client.MergeFrom(injected.DeepCopy())
	injected.Annotations["s3-tls/mount-path"] = "/etc/ssl/certs/storage.crt"
	if err := c.Patch(t.Context(), injected, changed); err != nil {
		t.Fatal(err)
	}
	all = append(all, expect("pod/injected", "warning settings-differ")...)
	putCA(t, c, p.namespace, slices.Concat(good, certificate(t, true, inAYear())))
	all = append(all, expect("injected", "warning ca-stale", "warning settings-differ")...)

	bare := &patient{pod: store(), config: config}
	admit(t, c, nil, bare)
	status, stdout, _ := kubectlS3TLS(t, cluster.Kubeconfig, "doctor", "-n", bare.namespace)
	if want := "get secret s3-tls-cert -o jsonpath"; status != cli.ExitFindings || !strings.Contains(stdout, want) {
		t.Errorf("the CA is in another namespace, and the fix does not copy it: %s", stdout)
	}
	return all
}

// faultsOfTheInstall breaks the injector on a cluster of its own, step by step.
func faultsOfTheInstall(t *testing.T) []doctor.Finding {
	t.Helper()
	own := ownCluster(t)
	port, err := localcluster.FreePort(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	kubectl := func(args ...string) {
		t.Helper()
		if _, stderr, err := own.Kubectl(t.Context(), "", args...); err != nil {
			t.Fatalf("kubectl %v: %v: %s", args, err, stderr)
		}
	}
	var all []doctor.Finding
	expect := func(what string, want ...string) {
		t.Helper()
		within(t, 20*time.Second, what, func() error {
			_, stdout, stderr := kubectlS3TLS(t, own.Kubeconfig, "doctor", "-n", "default", "-o", "json")
			var answer struct{ Findings []doctor.Finding }
			if err := json.Unmarshal([]byte(stdout), &answer); err != nil {
				return fmt.Errorf("%w: %s", err, stderr)
			}
			if got := slices.Sorted(maps.Keys(codesOf(answer.Findings))); !slices.Equal(got, want) {
				return fmt.Errorf("%q, want %q: %+v", got, want, answer.Findings)
			}
			all = append(all, answer.Findings...)
			return nil
		})
	}
	expect("nothing is installed", "error not-installed")
	if err := own.Install(t.Context(), port); err != nil {
		t.Fatal(err)
	}
	expect("no server", "error injector-not-ready", "error webhook-unreachable")
	server, err := own.StartInjector(t.Context(), program, port)
	if err != nil {
		t.Fatal(err)
	}
	replicas := func(ready string) {
		t.Helper()
		kubectl("-n", "s3-tls-injector", "patch", "deployment", "s3-tls-injector", "--subresource=status", "--type=merge", "-p", `{"status":{"replicas":2,"readyReplicas":`+ready+`}}`)
	}
	replicas("1")
	expect("one replica", "warning injector-degraded")
	replicas("2")
	expect("all is well")
	if status, stdout, _ := kubectlS3TLS(t, own.Kubeconfig, "doctor", "-n", "default"); status != cli.ExitOK || !strings.HasPrefix(stdout, "Nothing is wrong") {
		t.Errorf("status %d: %s", status, stdout)
	}

	// The entries, as somebody else may leave them
	c, err := client.New(own.Config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	good := &admissionregistrationv1.MutatingWebhookConfiguration{}
	if err := c.Get(t.Context(), client.ObjectKey{Name: "s3-tls-injector"}, good); err != nil {
		t.Fatal(err)
	}
	restore := func() {
		t.Helper()
		kubectl("delete", "mutatingwebhookconfiguration", "s3-tls-injector")
		again := good.DeepCopy()
		again.ResourceVersion, again.UID = "", ""
		if err := c.Create(t.Context(), again); err != nil {
			t.Fatal(err)
		}
		expect("all is well again")
	}
	webhook := func(patch string) {
		t.Helper()
		kubectl("patch", "mutatingwebhookconfiguration", "s3-tls-injector", "--type=json", "-p", patch)
	}
	kubectl("annotate", "mutatingwebhookconfiguration", "s3-tls-injector", "cert-manager.io/inject-ca-from-")
	webhook(`[{"op":"remove","path":"/webhooks/0/clientConfig/caBundle"}]`)
	expect("no CA bundle", "error ca-bundle-empty", "error webhook-unreachable")
	webhook(`[{"op":"add","path":"/webhooks/0/clientConfig/caBundle","value":"` + base64.StdEncoding.EncodeToString(certificate(t, true, inAYear())) + `"}]`)
	expect("another CA bundle", "error ca-bundle-mismatch", "error webhook-unreachable")
	restore()
	webhook(`[{"op":"replace","path":"/webhooks/0/failurePolicy","value":"Ignore"}]`)
	expect("failurePolicy", "warning entry-changed")
	webhook(`[{"op":"replace","path":"/webhooks/0/failurePolicy","value":"Fail"},{"op":"add","path":"/webhooks/1/namespaceSelector/matchExpressions/-","value":{"key":"control-plane","operator":"DoesNotExist"}}]`)
	expect("a selector that a cloud rewrote", "warning entry-changed")
	webhook(`[{"op":"remove","path":"/webhooks/1"}]`)
	expect("one entry is gone", "error entry-missing")
	restore()
	webhook(`[{"op":"replace","path":"/webhooks/0/matchConditions/2/expression","value":"false"}]`)
	expect("an entry that matches nothing", "error webhook-not-called", "warning entry-changed")
	restore()

	// The certificate
	kubectl("-n", "s3-tls-injector", "patch", "issuer", "s3-tls-injector-ca", "--type=merge", "-p", `{"spec":{"ca":{"secretName":"gone"}}}`)
	kubectl("-n", "s3-tls-injector", "patch", "certificate", "s3-tls-injector", "--type=merge", "-p", `{"spec":{"dnsNames":["s3-tls-injector.s3-tls-injector.svc","new.example.com"]}}`)
	expect("the certificate is not issued", "error certificate-not-ready")
	for _, tt := range []struct {
		until time.Time
		want  []string
	}{
		{time.Now().AddDate(0, 0, -1), []string{"error certificate-expired", "error certificate-not-ready"}},
		{time.Now().AddDate(0, 0, 2), []string{"error ca-bundle-mismatch", "error certificate-not-ready", "warning certificate-expires"}},
	} {
		ca := endpointtest.Issue(t, "s3-tls-injector-ca", nil, time.Now(), endpointtest.IsCA)
		serving := endpointtest.Issue(t, "", ca, time.Now(), func(c *x509.Certificate) {
			c.DNSNames, c.NotAfter = []string{"s3-tls-injector.s3-tls-injector.svc"}, tt.until
		})
		kubectl("-n", "s3-tls-injector", "patch", "secret", "s3-tls-injector-tls", "--type=merge", "-p",
			`{"data":{"tls.crt":"`+base64.StdEncoding.EncodeToString(endpointtest.PEM(serving))+`"}}`)
		expect("the certificate ends", tt.want...)
	}

	// A policy that no replica has looked at
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	kubectl("create", "-f", filepath.Join("testdata", "policy.yaml"))
	expect("a policy", "error ca-bundle-mismatch", "error certificate-not-ready", "error policy-not-ready", "error webhook-unreachable", "warning certificate-expires")
	return all
}

// withHeader is a CA with a header in its PEM block.
func withHeader(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Headers: map[string]string{"Origin": "storage"}, Bytes: der})
}

// weakCA is a CA with a key on a small curve.
func weakCA(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return selfSigned(t, key, true, inAYear())
}

// sha1CA is an intermediate CA whose signature names SHA-1.
func sha1CA(t *testing.T) []byte {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Old"}, NotBefore: time.Now(), NotAfter: inAYear(),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	issuer := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "Older"}}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	sha256WithRSA, sha1WithRSA := []byte("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b"), []byte("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05")
	return certificatePEM(bytes.ReplaceAll(der, sha256WithRSA, sha1WithRSA))
}

// statefulSet is one of a Thanos store.
func statefulSet(tweak func(*appsv1.StatefulSet)) *appsv1.StatefulSet {
	labels := map[string]string{"app": "store"}
	set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: "store"}, Spec: appsv1.StatefulSetSpec{
		Selector: &metav1.LabelSelector{MatchLabels: maps.Clone(labels)},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: newPod("", nil).Spec},
	}}
	if tweak != nil {
		tweak(set)
	}
	return set
}
