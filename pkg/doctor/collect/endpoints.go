package collect

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/api/v1alpha1"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/doctor"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/endpoint"
)

// atOnce is how many endpoints are asked at a time.
const atOnce = 8

// question is an endpoint, and the namespace of a pod that is to ask.
type question struct {
	namespace string
	address   endpoint.Address
}

// askEndpoints asks each endpoint of the pods' configurations, and the one that the user names.
func (r *run) askEndpoints(ctx context.Context) {
	questions := r.questions()
	if len(questions) == 0 {
		return
	}
	r.Progress("asking endpoints: %d", len(questions))
	answers := make([]endpoint.Probe, len(questions))
	failed := make([]error, len(questions))
	var all sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for i, q := range questions {
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if r.scope.InCluster {
				answers[i], failed[i] = r.askFromPod(ctx, q)
				return
			}
			ctx, cancel := context.WithTimeout(ctx, r.Timeout)
			defer cancel()
			answers[i] = endpoint.Ask(ctx, q.address, "here")
		})
	}
	all.Wait()
	for i, q := range questions {
		switch {
		case failed[i] != nil:
			r.gap(cluster(q.address.HostPort), "asking from a pod in namespace "+q.namespace, failed[i])
		case answers[i].Failure == endpoint.UnknownDNS && !r.scope.InCluster && isClusterName(q.address.Name):
			r.snapshot.Gaps = append(r.snapshot.Gaps, doctor.Gap{
				Target: cluster(q.address.HostPort), What: "the endpoint", Why: "its name is not known here, and may be one of the cluster",
				Fix: "run it again with --in-cluster",
			})
		default:
			r.snapshot.Probes = append(r.snapshot.Probes, answers[i])
		}
	}
}

// isClusterName tells whether a name is likely to be known in the cluster alone.
func isClusterName(name string) bool {
	return !strings.Contains(name, ".") || strings.HasSuffix(name, ".svc") || strings.Contains(name, ".svc.") || strings.Count(name, ".") == 1
}

func (r *run) questions() []question {
	var all []question
	add := func(namespace, text, name string) {
		address, err := endpoint.ParseAddress(text)
		if err != nil {
			return // a configuration that names no endpoint is told of
		}
		address.Name = cmp.Or(name, address.Name)
		if !r.scope.InCluster {
			namespace = "" // it is asked once
		}
		if q := (question{namespace, address}); !slices.Contains(all, q) {
			all = append(all, q)
		}
	}
	if r.scope.Endpoint != "" {
		namespace := r.scope.Namespace
		if namespace == "" {
			namespace = metav1.NamespaceDefault
		}
		add(namespace, r.scope.Endpoint, "")
	}
	for _, p := range r.snapshot.Pods {
		for q := range p.Questions() {
			add(p.Namespace, q.Address, q.Name)
		}
	}
	return all
}

// askFromPod runs a pod that asks, and removes it. The pod has no rights, no volume, and is not
// injected.
func (r *run) askFromPod(ctx context.Context, q question) (endpoint.Probe, error) {
	image := r.scope.Image
	if image == "" && r.snapshot.Install.Deployment != nil {
		image = r.snapshot.Install.Deployment.Image
	}
	if image == "" {
		return endpoint.Probe{}, errors.New("the injector's image is not known; give one by --image")
	}
	pods := r.Client.CoreV1().Pods(q.namespace)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: "s3-tls-doctor-", Namespace: q.namespace,
			Labels:      map[string]string{"app.kubernetes.io/name": "s3-tls-doctor"},
			Annotations: map[string]string{v1alpha1.Inject: "false"},
		},
		Spec: restricted(corev1.Container{
			Name: "ask", Image: image,
			Command: []string{"/s3-tls-injector", "probe", q.address.HostPort, "--server-name=" + q.address.Name, "--timeout=" + r.Timeout.String()},
		}),
	}
	pod.Spec.ActiveDeadlineSeconds = new(int64(r.Timeout/time.Second) + 60)
	created, err := pods.Create(ctx, pod, metav1.CreateOptions{})
	if err != nil {
		return endpoint.Probe{}, err
	}
	defer func() {
		// Whatever became of the context, the pod goes.
		after, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		if err := pods.Delete(after, created.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}); err != nil {
			r.Progress("pod %s/%s is left behind: %v", q.namespace, created.Name, err)
		}
	}()
	waiting, cancel := context.WithTimeout(ctx, r.Timeout+time.Minute)
	defer cancel()
	state := "it did not start"
	err = wait.PollUntilContextCancel(waiting, 500*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		found, err := pods.Get(ctx, created.Name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		for _, s := range found.Status.ContainerStatuses {
			if s.State.Waiting != nil && s.State.Waiting.Message != "" {
				state = s.State.Waiting.Reason + ": " + s.State.Waiting.Message
			}
		}
		if found.Status.Phase == corev1.PodFailed {
			return false, errors.New("the pod failed")
		}
		return found.Status.Phase == corev1.PodSucceeded, nil
	})
	if err != nil {
		return endpoint.Probe{}, fmt.Errorf("pod %s: %w (%s)", created.Name, err, state)
	}
	answer, err := pods.GetLogs(created.Name, &corev1.PodLogOptions{}).DoRaw(waiting)
	if err != nil {
		return endpoint.Probe{}, err
	}
	var probe endpoint.Probe
	if err := json.Unmarshal(answer, &probe); err != nil {
		return endpoint.Probe{}, fmt.Errorf("what pod %s says cannot be read: %w", created.Name, err)
	}
	probe.From, probe.Namespace = "a pod in "+q.namespace, q.namespace
	return probe, nil
}
