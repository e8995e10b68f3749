package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

const path = "/mutate/pods"

// bare is the limit: a handler that reads the review, looks for its uid and answers what never changes.
type bare struct{ buffers sync.Pool }

func (b *bare) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	buffer, ok := b.buffers.Get().(*bytes.Buffer)
	if !ok {
		buffer = &bytes.Buffer{}
	}
	defer b.buffers.Put(buffer)
	buffer.Reset()
	if _, err := buffer.ReadFrom(r.Body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	answer := fmt.Appendf(nil, `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":%q,"allowed":true,"patchType":"JSONPatch","patch":%q}}`, uidOf(buffer.Bytes()), constantPatch)
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(answer) // the client has gone where that fails
}

func uidOf(review []byte) string {
	_, rest, _ := bytes.Cut(review, []byte(`"uid":"`))
	uid, _, _ := bytes.Cut(rest, []byte(`"`))
	return string(uid)
}

// constantPatch is as long as one that injects.
var constantPatch = base64.StdEncoding.EncodeToString([]byte(`[{"op":"add","path":"/metadata/annotations/s3-tls~1injected-by","value":"pod"},` +
	`{"op":"add","path":"/spec/volumes/-","value":{"name":"s3-tls-cert","secret":{"secretName":"s3-tls-cert","items":[{"key":"ca.crt","path":"s3-ca.crt"}]}}},` +
	`{"op":"add","path":"/spec/containers/0/volumeMounts/-","value":{"name":"s3-tls-cert","readOnly":true,"mountPath":"/etc/ssl/certs/s3-ca.crt","subPath":"s3-ca.crt"}},` +
	`{"op":"add","path":"/spec/containers/0/env","value":[{"name":"SSL_CERT_FILE","value":"/etc/ssl/certs/s3-ca.crt"}]}]`))

// usual is the handler that most webhooks have: it decodes the whole pod into its type, changes it,
// encodes it, and lets the library find the difference.
type usual struct{ decoder admission.Decoder }

func (u *usual) Handle(_ context.Context, req admission.Request) admission.Response {
	pod := &corev1.Pod{}
	if err := u.decoder.Decode(req, pod); err != nil {
		return admission.Errored(http.StatusBadRequest, err)
	}
	if pod.Annotations["s3-tls/inject"] != "true" {
		return admission.Allowed("")
	}
	pod.Annotations["s3-tls/injected-by"] = "pod"
	pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: "s3-tls-cert", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{
		SecretName: "s3-tls-cert", Items: []corev1.KeyToPath{{Key: "ca.crt", Path: "s3-ca.crt"}},
	}}})
	c := &pod.Spec.Containers[0]
	c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: "s3-tls-cert", MountPath: "/etc/ssl/certs/s3-ca.crt", SubPath: "s3-ca.crt", ReadOnly: true})
	c.Env = append(c.Env, corev1.EnvVar{Name: "SSL_CERT_FILE", Value: "/etc/ssl/certs/s3-ca.crt"})
	changed, err := json.Marshal(pod)
	if err != nil {
		return admission.Errored(http.StatusInternalServerError, err)
	}
	return admission.PatchResponseFromRaw(req.Object.Raw, changed)
}

// serve serves bare or usual with the certificate of a folder until ctx ends: bare as Go's own server
// does, and usual with that of controller-runtime, which the injector has too.
func serve(ctx context.Context, kind, port, certificates string) error {
	ctrl.SetLogger(logr.Discard())
	versions := func(c *tls.Config) { c.MinVersion, c.NextProtos = tls.VersionTLS13, []string{"h2", "http/1.1"} }
	switch kind {
	case "bare":
		mux := http.NewServeMux()
		mux.Handle(path, &bare{})
		server := &http.Server{Addr: "127.0.0.1:" + port, Handler: mux, ReadHeaderTimeout: time.Second, TLSConfig: &tls.Config{MinVersion: tls.VersionTLS13}}
		versions(server.TLSConfig)
		context.AfterFunc(ctx, func() { _ = server.Close() })
		return server.ListenAndServeTLS(filepath.Join(certificates, "tls.crt"), filepath.Join(certificates, "tls.key"))
	case "usual":
		number, err := strconv.Atoi(port)
		if err != nil {
			return err
		}
		server := webhook.NewServer(webhook.Options{Host: "127.0.0.1", Port: number, CertDir: certificates, TLSOpts: []func(*tls.Config){versions}})
		server.Register(path, &webhook.Admission{Handler: &usual{admission.NewDecoder(clientgoscheme.Scheme)}})
		return server.Start(ctx)
	}
	return fmt.Errorf("there is no server %q", kind)
}

// newCertificate returns a certificate for loopback, and its CA bundle in base64.
func newCertificate() (certificate tls.Certificate, bundle string, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, "", err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, "", err
	}
	file := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, base64.StdEncoding.EncodeToString(file), nil
}

// writeCertificate writes a certificate into a folder, as cert-manager's Secret is mounted.
func writeCertificate(folder string) error {
	certificate, _, err := newCertificate()
	if err != nil {
		return err
	}
	key, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
	if err != nil {
		return err
	}
	file := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]})
	for name, data := range map[string][]byte{"tls.crt": file, "ca.crt": file, "tls.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})} {
		if err := os.WriteFile(filepath.Join(folder, name), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}
