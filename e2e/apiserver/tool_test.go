package apiserver

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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

// status -w prints what changes, below what it printed before.
func TestStatusFollows(t *testing.T) {
	c, _ := newClient(t)
	good := certificate(t, true, inAYear())
	p := &patient{pod: store(func(p *corev1.Pod) { p.Name = "follow" }), config: objstore("minio:9000"), objects: []client.Object{ca(good)}}
	admit(t, c, map[string]string{"s3-tls/inject": "true"}, p)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var out, errOut safeBuffer
	ended := make(chan int, 1)
	go func() {
		ended <- cli.Run(ctx, []string{"status", "-w", "-n", p.namespace, "--kubeconfig=" + cluster.Kubeconfig}, cli.Streams{In: strings.NewReader(""), Out: &out, Err: &errOut, Now: time.Now})
	}()
	expect := func(n int, what string) {
		t.Helper()
		within(t, 20*time.Second, what, func() error {
			lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
			if len(lines) != n || !strings.Contains(lines[n-1], what) {
				return fmt.Errorf("%d lines: %s%s", len(lines), out.String(), errOut.String())
			}
			return nil
		})
	}
	expect(2, " current ")
	putCA(t, c, p.namespace, slices.Concat(good, certificate(t, true, inAYear())))
	expect(3, " stale ")
	if err := c.Delete(t.Context(), p.pod); err != nil {
		t.Fatal(err)
	}
	expect(4, " gone ")
	stop()
	if status := <-ended; status != cli.ExitOK {
		t.Errorf("it ends with status %d: %s", status, errOut.String())
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	for _, line := range lines[1:] {
		if at := strings.Index(lines[0], "SOURCE"); !strings.HasPrefix(line[at:], "pod ") {
			t.Errorf("a column is not below its header:\n%s", out.String())
		}
	}
}

// safeBuffer is written by one goroutine and read by another.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// A pod that was created before its CA does not say which one it carries; it is stale when the data
// changed after it started.
func TestStatusOfPodsOlderThanTheirCA(t *testing.T) {
	c, _ := newClient(t)
	p := &patient{pod: store(), config: objstore("minio:9000")}
	admit(t, c, map[string]string{"s3-tls/inject": "true"}, p)
	state := func() string {
		_, stdout, stderr := kubectlS3TLS(t, cluster.Kubeconfig, "status", "-o", "json", "-n", p.namespace)
		var pods []struct{ State string }
		if err := json.Unmarshal([]byte(stdout), &pods); err != nil || len(pods) != 1 {
			t.Fatalf("%v: %s%s", err, stdout, stderr)
		}
		return pods[0].State
	}
	if got := state(); got != "unknown" {
		t.Errorf("without a CA: %s", got)
	}
	putCA(t, c, p.namespace, certificate(t, true, inAYear()))
	for started, want := range map[time.Duration]string{time.Hour: "current", -time.Hour: "stale"} {
		before := client.MergeFrom(p.pod.DeepCopy())
		p.pod.Status.ContainerStatuses = []corev1.ContainerStatus{{
			Name: p.pod.Spec.Containers[0].Name, Image: "x", ImageID: "x", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(time.Now().Add(started))}},
		}}
		if err := c.Status().Patch(t.Context(), p.pod, before); err != nil {
			t.Fatal(err)
		}
		if got := state(); got != want {
			t.Errorf("started at %s from now: %s, want %s", started, got, want)
		}
	}
}

// Names of pods are completed as kubectl completes them.
func TestCompletionOfPods(t *testing.T) {
	c, _ := newClient(t)
	p := &patient{pod: store(), config: objstore("minio:9000")}
	admit(t, c, nil, p)
	for _, command := range []string{"doctor", "explain"} {
		var out, errOut bytes.Buffer
		args := []string{"__complete", command, "-n", p.namespace, "--kubeconfig=" + cluster.Kubeconfig, "than"}
		status := cli.Run(t.Context(), args, cli.Streams{In: strings.NewReader(""), Out: &out, Err: &errOut, Now: time.Now})
		if status != cli.ExitOK || !strings.HasPrefix(out.String(), p.pod.Name+"\n") {
			t.Errorf("%s: status %d: %q %s", command, status, out.String(), errOut.String())
		}
	}
}

// Somebody who may not read what opts pods in is told so, and nothing that may be wrong.
func TestWithoutRights(t *testing.T) {
	c, _ := newClient(t)
	p := &patient{pod: store(notOptedIn), config: objstore("127.0.0.1:1"), objects: []client.Object{ca(certificate(t, true, inAYear()))}}
	admit(t, c, nil, p)
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "reader", Namespace: p.namespace}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get", "list"}},
	}}
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "reader", Namespace: p.namespace}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "reader"},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "dev"}},
	}
	for _, o := range []client.Object{role, binding} {
		if err := c.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	within(t, 10*time.Second, "the rights", func() error {
		if status, _, stderr := kubectlS3TLS(t, cluster.Kubeconfig, "status", "-n", p.namespace, "--as", "dev"); status != cli.ExitError || !strings.Contains(stderr, "not allowed to read") || strings.Contains(stderr, "list pods") || strings.Contains(stderr, "No pod") {
			return fmt.Errorf("status %d: %s", status, stderr)
		}
		return nil
	})
	status, stdout, stderr := kubectlS3TLS(t, cluster.Kubeconfig, "doctor", "-n", p.namespace, "--as", "dev")
	if status != cli.ExitError || strings.Contains(stdout, "not-opted-in") || strings.Count(stdout, "not-checked") < 3 {
		t.Errorf("status %d: %s%s", status, stdout, stderr)
	}
}
