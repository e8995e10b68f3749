package apiserver

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/cli"
)

// status and explain tell of pods of the cluster what the webhook sees.
func TestStatusAndExplainOfACluster(t *testing.T) {
	c, _ := newClient(t)
	old := certificate(t, true, inAYear())
	p := &patient{pod: store(func(p *corev1.Pod) { p.Name = "current" }), config: objstore("minio:9000"), objects: []client.Object{ca(old)}}
	admit(t, c, map[string]string{"s3-tls/inject": "true"}, p)
	putCA(t, c, p.namespace, slices.Concat(old, certificate(t, true, inAYear())))
	time.Sleep(2 * time.Second) // the injector sees the new CA
	for name, tweak := range map[string]func(*corev1.Pod){
		"fresh": nil,
		"out":   func(p *corev1.Pod) { p.Annotations["s3-tls/inject"] = "false" },
		"late":  func(p *corev1.Pod) { p.Annotations["s3-tls/inject"] = "false" },
	} {
		pod := store(notOptedIn, func(p *corev1.Pod) { p.Name, p.Namespace = name, "" })
		if tweak != nil {
			tweak(pod)
		}
		pod.Namespace = p.namespace
		if err := c.Create(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
		if name == "late" {
			before := client.MergeFrom(pod.DeepCopy())
			delete(pod.Annotations, "s3-tls/inject")
			if err := c.Patch(t.Context(), pod, before); err != nil {
				t.Fatal(err)
			}
		}
	}
	run := func(want int, args ...string) string {
		t.Helper()
		status, stdout, stderr := kubectlS3TLS(t, cluster.Kubeconfig, append(args, "-n", p.namespace)...)
		if status != want {
			t.Errorf("%v: status %d, want %d: %s", args, status, want, stderr)
		}
		return stdout + stderr
	}
	var pods []struct{ Name, Source, CA, State string }
	if err := json.Unmarshal([]byte(run(cli.ExitOK, "status", "-o", "json")), &pods); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, p := range pods {
		got[p.Name] = p.Source + " " + p.CA + " " + p.State
	}
	for name, want := range map[string]string{
		"current": "pod secret/s3-tls-cert[ca.crt] stale", "fresh": "namespace secret/s3-tls-cert[ca.crt] current",
		"late": "namespace secret/s3-tls-cert[ca.crt] not-injected", "out": "",
	} {
		if got[name] != want {
			t.Errorf("%s: %q, want %q", name, got[name], want)
		}
	}
	table := run(cli.ExitOK, "status", "-o", "wide")
	if lines := strings.Split(strings.TrimSpace(table), "\n"); len(lines) != 4 || !strings.HasPrefix(lines[0], "NAME ") {
		t.Errorf("the table:\n%s", table)
	}
	for args, want := range map[string]string{
		"current":  "its CA has changed since: it is stale",
		"po/fresh": "it carries the CA that is there now",
		"late":     "it was created without the injection; created anew, it would be given what stands below",
		"pod out":  "decision    skipped, opted-out",
	} {
		if text := run(cli.ExitOK, append([]string{"explain"}, strings.Fields(args)...)...); !strings.Contains(text, want) {
			t.Errorf("explain %s: %s, want %q", args, text, want)
		}
	}
	if text := run(cli.ExitError, "explain", "gone"); !strings.Contains(text, `pods "gone" not found`) {
		t.Errorf("explain gone: %s", text)
	}
	if text := run(cli.ExitError, "explain", "fresh", "--ca", "x"); !strings.Contains(text, "--ca is for files") {
		t.Errorf("explain --ca: %s", text)
	}
}
