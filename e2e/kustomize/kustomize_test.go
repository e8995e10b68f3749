// Package kustomize runs the tool as a function of kustomize itself.
package kustomize

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

const kustomization = `
resources: [store.yaml]
transformers: [s3-tls.yaml]
namespace: monitoring
`

const transformer = `
apiVersion: v1
kind: ConfigMap
metadata:
  name: s3-tls
  annotations:
    config.kubernetes.io/function: |
      exec: {path: ./kubectl-s3_tls}
data:
  namespace-label: s3-tls/inject=true
`

const policy = `
apiVersion: policy.s3-tls/v1alpha1
kind: InjectionPolicy
metadata:
  name: storage
  annotations:
    config.kubernetes.io/function: |
      exec: {path: ./kubectl-s3_tls}
spec:
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}
  ca: {configMap: {name: storage-ca}}
`

const store = `
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: thanos-store, namespace: monitoring}
spec:
  template:
    metadata: {annotations: {%s}}
    spec:
      containers: [{name: store, image: quay.io/thanos/thanos, args: [store]}]
`

// build is kustomize build --enable-alpha-plugins --enable-exec.
func build(t *testing.T, annotations, transformer string) (string, error) {
	t.Helper()
	dir := t.TempDir()
	program := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, "kubectl-s3_tls"), "./cmd/kubectl-s3_tls")
	program.Dir = "../.."
	if out, err := program.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for name, text := range map[string]string{
		"kustomization.yaml": kustomization, "s3-tls.yaml": transformer, "store.yaml": strings.ReplaceAll(store, "%s", annotations),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	options := krusty.MakeDefaultOptions()
	options.PluginConfig = types.EnabledPluginConfig(types.BploUseStaticallyLinked)
	options.PluginConfig.FnpLoadingOptions.EnableExec = true
	options.PluginConfig.FnpLoadingOptions.WorkingDir = dir
	resources, err := krusty.MakeKustomizer(options).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		return "", err
	}
	text, err := resources.AsYaml()
	return string(text), err
}

func TestKustomizeInjects(t *testing.T) {
	for name, tt := range map[string]struct{ transformer, source, ca string }{
		"a ConfigMap of flags": {transformer, "namespace", "secretName: s3-tls-cert"},
		"a policy":             {policy, "policy/storage", "name: storage-ca"},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := build(t, "", tt.transformer)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{"s3-tls/injected-by: " + tt.source, tt.ca, "mountPath: /etc/ssl/certs/s3-ca.crt", "name: SSL_CERT_FILE"} {
				if !strings.Contains(text, want) {
					t.Errorf("there is no %q in\n%s", want, text)
				}
			}
		})
	}
}

func TestKustomizeFailsWhereAPodIsRefused(t *testing.T) {
	if text, err := build(t, `s3-tls/inject: "yes"`, transformer); err == nil {
		t.Errorf("it went on:\n%s", text)
	}
}
