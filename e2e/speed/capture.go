package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/s3-tls-injector/s3-tls-injector/e2e/localcluster"
)

// capture writes the reviews that a real API server sends for the pods of testdata: with its defaults,
// with managedFields, and with all that stands around the pod.
func capture(ctx context.Context, assets, folder string) (err error) {
	dir, err := os.MkdirTemp("", "s3-tls-injector-speed-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	cluster, err := localcluster.Start(ctx, localcluster.Options{Assets: assets, Dir: dir, Source: "..", Progress: progress})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cluster.Stop()) }()
	certificate, bundle, err := newCertificate()
	if err != nil {
		return err
	}
	bodies := make(chan []byte, 1)
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			select {
			case bodies <- body:
			default: // the configuration is being tried
			}
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":%q,"allowed":true}}`, uidOf(body))
	})}
	go func() {
		_ = server.Serve(tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS13})) // it ends when it is closed
	}()
	defer func() { err = errors.Join(err, server.Close()) }()
	configuration := strings.NewReplacer("PORT", listener.Addr().String(), "BUNDLE", bundle).Replace(`apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: capture}
webhooks:
- name: capture.speed.example.com
  clientConfig: {url: "https://PORT/", caBundle: BUNDLE}
  rules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}]
  admissionReviewVersions: [v1]
  sideEffects: None
`)
	for _, object := range []string{configuration, "{apiVersion: v1, kind: ServiceAccount, metadata: {name: default, namespace: default}}"} {
		if _, stderr, err := cluster.Kubectl(ctx, object, "create", "-f", "-"); err != nil && !strings.Contains(stderr, "AlreadyExists") {
			return fmt.Errorf("create: %w: %s", err, stderr)
		}
	}
	for _, name := range podNames {
		var body []byte
		for body == nil {
			if _, stderr, err := cluster.Kubectl(ctx, "", "create", "--dry-run=server", "-f", filepath.Join(folder, name+".yaml")); err != nil {
				return fmt.Errorf("create %s: %w: %s", name, err, stderr)
			}
			select {
			case body = <-bodies:
			case <-time.After(time.Second): // it is not called yet
			}
		}
		progress(fmt.Sprintf("%s: %d bytes", name, len(body)))
		if err := os.WriteFile(filepath.Join(folder, name+".json"), body, 0o600); err != nil {
			return err
		}
	}
	return nil
}
