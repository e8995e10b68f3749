package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// logsOf returns what a container and its predecessor wrote.
func logsOf(ctx context.Context, namespace, pod, container string) (string, error) {
	args := []string{"-n", namespace, "logs", pod, "-c", container}
	now, err := runKubectl(ctx, "", args...)
	before, _ := runKubectl(ctx, "", append(args, "--previous")...) // there may be none
	return before + now, err
}

// distrusts returns an error unless a container logged that it does not know the
// storage's CA.
func distrusts(namespace, pod, container string) func(context.Context) error {
	return func(ctx context.Context) error {
		out, err := logsOf(ctx, namespace, pod, container)
		if strings.Contains(out, untrusted) {
			return nil
		}
		return errors.Join(err, fmt.Errorf("%s of %s did not log %q", container, pod, untrusted))
	}
}

// succeeded returns an error unless the pod has ended well.
func succeeded(namespace, pod string) func(context.Context) error {
	return phase(namespace, pod, corev1.PodSucceeded)
}

func phase(namespace, name string, want corev1.PodPhase) func(context.Context) error {
	return func(ctx context.Context) error {
		pod, err := client.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
		if err == nil && pod.Status.Phase != want {
			err = fmt.Errorf("pod %s is %s", name, pod.Status.Phase)
		}
		return err
	}
}

// event returns an error unless there is an event of the pod with that reason
// and text.
func event(namespace, pod, reason, text string) func(context.Context) error {
	return func(ctx context.Context) error {
		events, err := client.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=" + pod})
		if err != nil {
			return err
		}
		for _, e := range events.Items {
			if e.Reason == reason && strings.Contains(e.Message, text) {
				return nil
			}
		}
		return fmt.Errorf("no event %s of pod %s with %q", reason, pod, text)
	}
}

// injectedContainers returns the containers of a pod that carry the CA. Each must
// have a root file system that is read-only.
func injectedContainers(t *testing.T, namespace, name string) []string {
	t.Helper()
	pod, err := client.CoreV1().Pods(namespace).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range pod.Spec.Containers {
		if slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return strings.HasPrefix(m.Name, "s3-tls-cert") }) {
			names = append(names, c.Name)
			if own := c.SecurityContext; own == nil || own.ReadOnlyRootFilesystem == nil || !*own.ReadOnlyRootFilesystem {
				t.Errorf("the root file system of container %s of %s is not read-only, and so does not show what it should", c.Name, name)
			}
		}
	}
	return names
}

// annotate annotates the pod template of a StatefulSet, as the README tells, and
// replaces its pod. The controller does not do so by itself where the pod never
// became ready.
func annotate(t *testing.T, namespace, name, annotations string) {
	t.Helper()
	patch := `{"spec":{"template":{"metadata":{"annotations":` + annotations + `}}}}`
	kubectl(t, "-n", namespace, "patch", "statefulset", name, "--type=merge", "-p", patch)
	replace(t, namespace, name+"-0")
}

// replace deletes the pod of a StatefulSet and waits until the next is ready.
func replace(t *testing.T, namespace, pod string) {
	t.Helper()
	say(t, "replacing pod %s", pod)
	kubectl(t, "-n", namespace, "delete", "pod", pod, "--timeout=2m")
	kubectl(t, "-n", namespace, "wait", "--for=create", "--timeout=1m", "pod/"+pod)
	kubectl(t, "-n", namespace, "wait", "--for=condition=Ready", "--timeout=3m", "pod/"+pod)
}

// get sends a GET to a port of a pod, by way of the API server.
func get(ctx context.Context, namespace, pod, port, path string, query map[string]string) ([]byte, error) {
	return client.CoreV1().Pods(namespace).ProxyGet("http", pod, port, path, query).DoRaw(ctx)
}

// post sends a POST to a port of a pod, by way of the API server.
func post(ctx context.Context, namespace, pod, port, path, contentType string, body []byte) error {
	out, err := client.CoreV1().RESTClient().Post().Namespace(namespace).Resource("pods").Name(pod+":"+port).SubResource("proxy").Suffix(path).
		SetHeader("Content-Type", contentType).Body(body).DoRaw(ctx)
	if err != nil {
		return fmt.Errorf("post to %s: %w: %s", pod, err, out)
	}
	return nil
}
