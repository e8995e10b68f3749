package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const review = `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"1",
"kind":{"group":"","version":"v1","kind":"Pod"},"namespace":"shop","operation":"CREATE","object":
{"metadata":{"annotations":{"s3-tls/inject":"true"}},"spec":{"containers":[{"name":"a","image":"b"}]}}}}`

// writeCertificate writes tls.crt and tls.key as a new pair, each by a rename,
// and returns the certificate.
func writeCertificate(t *testing.T, dir string, serial int64) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"injector"},
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"tls.crt": {Type: "CERTIFICATE", Bytes: der}, "tls.key": {Type: "PRIVATE KEY", Bytes: keyDER}} {
		next := filepath.Join(dir, name+".next")
		if err := os.WriteFile(next, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}

// lockedBuffer is a log that the test reads while the server writes.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// standalone is a running server without a Kubernetes API.
type standalone struct {
	certs, port, health, metrics string

	log  lockedBuffer
	stop context.CancelFunc
	done chan error
}

// The metrics are registered once in a process, so one test holds all that
// needs a running server.
func TestStandaloneServer(t *testing.T) {
	s := &standalone{certs: t.TempDir(), port: freePort(t), health: freePort(t), metrics: freePort(t), done: make(chan error, 1)}
	ctx, stop := context.WithCancel(t.Context())
	s.stop = stop
	go func() {
		s.done <- run(ctx, []string{
			"--standalone", "--host=127.0.0.1", "--port=" + s.port, "--cert-dir=" + s.certs, "--drain=2s",
			"--health-address=127.0.0.1:" + s.health, "--metrics-address=127.0.0.1:" + s.metrics,
		}, "injector-system", &s.log)
	}()
	waitFor(t, "/healthz", func() bool { status, _ := s.get("http://127.0.0.1:" + s.health + "/healthz"); return status == 200 })
	if status, text := s.get("http://127.0.0.1:" + s.health + "/readyz"); status != 503 || !strings.Contains(text, "no certificate yet") {
		t.Errorf("before the certificate: %d %s", status, text)
	}
	first := writeCertificate(t, s.certs, 1)
	waitFor(t, "/readyz", func() bool { status, _ := s.get("http://127.0.0.1:" + s.health + "/readyz"); return status == 200 })

	for _, protocol := range []string{"h2", "http/1.1"} {
		response, body := s.review(t, first, protocol)
		if response.TLS.Version != tls.VersionTLS13 || response.ProtoMajor != map[string]int{"h2": 2, "http/1.1": 1}[protocol] {
			t.Errorf("%s: TLS %x, %s", protocol, response.TLS.Version, response.Proto)
		}
		if response.StatusCode != http.StatusOK || !strings.Contains(body, `"patchType":"JSONPatch"`) {
			t.Errorf("%s: status %d, %s", protocol, response.StatusCode, body)
		}
	}
	old := &tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}}
	if conn, err := old.DialContext(t.Context(), "tcp", "127.0.0.1:"+s.port); err == nil {
		conn.Close()
		t.Error("TLS 1.2 is spoken")
	}

	// Half a renewal: the key does not fit the certificate. The old pair goes on.
	if err := os.WriteFile(filepath.Join(s.certs, "tls.crt"), []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	if response, _ := s.review(t, first, "h2"); response.StatusCode != http.StatusOK {
		t.Errorf("with half a certificate: %d", response.StatusCode)
	}
	second := writeCertificate(t, s.certs, 2)
	waitFor(t, "the new certificate", func() bool { return s.served(t).Equal(second) })

	if status, text := s.get("http://127.0.0.1:" + s.metrics + "/metrics"); status != 200 || !strings.Contains(text, `s3_tls_admissions_total{decision="injected",reason="",source="pod"} 3`) {
		t.Errorf("metrics: %d %s", status, text)
	}

	inFlight := s.startReview(t, second)
	s.stop()
	waitFor(t, "the server to turn unready", func() bool {
		status, text := s.get("http://127.0.0.1:" + s.health + "/readyz")
		return status == 503 && strings.Contains(text, "draining")
	})
	if response, _ := s.review(t, second, "http/1.1"); response.StatusCode != http.StatusOK || !response.Close {
		t.Errorf("while draining: status %d, asked to connect anew %v", response.StatusCode, response.Close)
	}
	waitFor(t, "the port to be closed", func() bool {
		conn, err := net.Dial("tcp", "127.0.0.1:"+s.port)
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	if status := inFlight(t); status != http.StatusOK {
		t.Errorf("a review that was in flight: status %d", status)
	}
	if err := <-s.done; err != nil {
		t.Errorf("ended with %v", err)
	}
	for _, line := range []string{"waiting for the certificate", `msg=injected`, "msg=draining"} {
		if !strings.Contains(s.log.String(), line) {
			t.Errorf("the log does not hold %q:\n%s", line, s.log.String())
		}
	}
}

func (s *standalone) get(url string) (status int, text string) {
	response, err := http.Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(body)
}

func (s *standalone) review(t *testing.T, root *x509.Certificate, protocol string) (*http.Response, string) {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(root)
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "injector"}, ForceAttemptHTTP2: protocol == "h2",
	}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Post("https://127.0.0.1:"+s.port+"/mutate/pods", "application/json", strings.NewReader(review))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body)
}

// startReview sends half of a review and returns how to send the rest.
func (s *standalone) startReview(t *testing.T, root *x509.Certificate) (finish func(*testing.T) (status int)) {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(root)
	dialer := &tls.Dialer{Config: &tls.Config{RootCAs: roots, ServerName: "injector"}}
	conn, err := dialer.DialContext(t.Context(), "tcp", "127.0.0.1:"+s.port)
	if err != nil {
		t.Fatal(err)
	}
	half := len(review) / 2
	fmt.Fprintf(conn, "POST /mutate/pods HTTP/1.1\r\nHost: injector\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(review), review[:half])
	return func(t *testing.T) int {
		t.Helper()
		defer conn.Close()
		fmt.Fprint(conn, review[half:])
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		return response.StatusCode
	}
}

func (s *standalone) served(t *testing.T) *x509.Certificate {
	t.Helper()
	dialer := &tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}
	conn, err := dialer.DialContext(t.Context(), "tcp", "127.0.0.1:"+s.port)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0]
}

func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited a minute for %s", what)
		}
	}
}

func TestWrongFlagsAreNamed(t *testing.T) {
	tests := map[string]struct {
		args []string
		want string
	}{
		"unknown":           {[]string{"--nonsense"}, "unknown flag: --nonsense"},
		"argument":          {[]string{"serve"}, `there is no argument "serve"`},
		"port":              {[]string{"--port=0"}, "--port 0 is no port"},
		"level":             {[]string{"--log-level=loud"}, `--log-level "loud" is none of debug, info, warn, error`},
		"format":            {[]string{"--log-format=xml"}, `--log-format "xml" is neither "text" nor "json"`},
		"drain":             {[]string{"--drain=-1s"}, "--drain -1s is negative"},
		"exempt namespace":  {[]string{"--exempt-namespace=A_B"}, `"A_B" is no valid name for --exempt-namespace`},
		"cert dir":          {[]string{"--cert-dir="}, "--cert-dir is empty"},
		"two ways to serve": {[]string{"--standalone", "--kubeconfig=x"}, "--standalone uses no --kubeconfig"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var stderr bytes.Buffer
			err := run(t.Context(), tt.args, "", &stderr)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !errors.Is(err, errUsage) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			if status := exitStatus(err, &stderr); status != 2 {
				t.Errorf("exit status %d", status)
			}
		})
	}
}

func TestHelpHasExamples(t *testing.T) {
	var stderr bytes.Buffer
	err := run(t.Context(), []string{"--help"}, "", &stderr)
	if exitStatus(err, &stderr) != 0 || !strings.Contains(stderr.String(), "Examples:") || !strings.Contains(stderr.String(), "--standalone") {
		t.Errorf("%v\n%s", err, stderr.String())
	}
}

func TestAPortInUseIsAnError(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var stderr lockedBuffer
	err = run(t.Context(), []string{
		"--standalone", "--health-address=" + listener.Addr().String(), "--metrics-address=0", "--cert-dir=" + t.TempDir(), "--drain=0s",
	}, "", &stderr)
	if err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Error(err)
	}
	if status := exitStatus(err, io.Discard); status != 1 {
		t.Errorf("exit status %d", status)
	}
}

func TestWithoutAClusterTheErrorNamesTheWayOut(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	err := run(t.Context(), []string{"--health-address=127.0.0.1:" + freePort(t), "--metrics-address=0", "--cert-dir=" + t.TempDir()}, "", io.Discard)
	if err == nil || !strings.Contains(err.Error(), "--standalone works without a Kubernetes API") {
		t.Error(fmt.Errorf("got %w", err))
	}
}
