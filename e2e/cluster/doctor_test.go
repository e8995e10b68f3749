package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/cli"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/doctor"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/endpoint/endpointtest"
)

// found runs doctor with endpoints asked from inside the cluster, and returns nothing once it finds one of
// the codes for a pod; with none of them, once it finds nothing.
func found(namespace, pod string, want ...doctor.Code) func(context.Context) error {
	return func(ctx context.Context) error {
		var out, errOut bytes.Buffer
		status := cli.Run(ctx, []string{"doctor", "--kubeconfig=" + os.Getenv("KUBECONFIG"), "-n", namespace, pod, "--in-cluster", "-o", "json"},
			cli.Streams{In: strings.NewReader(""), Out: &out, Err: &errOut, Now: time.Now})
		var answer struct{ Findings []doctor.Finding }
		if err := json.Unmarshal(out.Bytes(), &answer); err != nil {
			return fmt.Errorf("%w: %s", err, &errOut)
		}
		if strings.Contains(out.String()+errOut.String(), "planted") {
			return fmt.Errorf("it prints a credential: %s%s", &out, &errOut)
		}
		for _, f := range answer.Findings {
			if slices.Contains(want, f.Code) {
				return nil
			}
		}
		if len(want) == 0 && status == cli.ExitOK {
			return nil
		}
		return fmt.Errorf("status %d, %+v", status, answer.Findings)
	}
}

// The five classic faults, made with the real MinIO, Thanos and kubelet: doctor names each, and
// then none where they are mended.
func TestDoctor(t *testing.T) {
	const namespace = "doctor"
	clean(t, namespace)
	newBucket(t, "doctor")
	apply(t, "manifests/doctor.yaml")
	dir := t.TempDir()
	expired, _ := newExpiredCA(t)
	for name, file := range map[string][]byte{"good": storageCA(t), "expired": expired, "stranger": endpointtest.PEM(endpointtest.Issue(t, "Other CA", nil, time.Now(), endpointtest.IsCA))} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		kubectl(t, "-n", namespace, "create", "secret", "generic", name, "--from-file=ca.crt="+path)
	}
	say(t, "unknown authority")
	eventually(t, 2*time.Minute, "the fault to be named", found(namespace, "unknown-authority", doctor.EndpointUnknown))
	eventually(t, 2*time.Minute, "its log to be read", found(namespace, "unknown-authority", doctor.LogErrors))
	say(t, "the others")
	for pod, codes := range map[string][]doctor.Code{
		"wrong-port": {doctor.EndpointRefused, doctor.EndpointTimeout}, // as the cluster's Services treat such a port
		"plain-http": {doctor.ConfigInsecure}, "no-mount": {doctor.EndpointUnknown}, "expired-ca": {"ca-expired"}, "healthy": nil,
	} {
		eventually(t, 2*time.Minute, pod+" to be named", found(namespace, pod, codes...))
	}
	eventually(t, time.Minute, "no pod of doctor to be left", func(ctx context.Context) error {
		left, err := runKubectl(ctx, "", "-n", namespace, "get", "pods", "-l", "app.kubernetes.io/name=s3-tls-doctor", "-o", "name")
		if err == nil && left != "" {
			err = fmt.Errorf("%s", left)
		}
		return err
	})
	if phase := kubectl(t, "-n", namespace, "get", "pod", "healthy", "-o", "jsonpath={.status.phase}"); phase != string(corev1.PodRunning) {
		t.Errorf("the healthy pod is %s", phase)
	}
}
