package collect

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/pager"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/api/v1alpha1"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/doctor"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/inject"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/podinfo"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/storageconfig"
)

// Kinds are the kinds of objects that a scope can name.
func Kinds() []string {
	return []string{"Pod", "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob"}
}

// template is what creates pods.
type template struct {
	kind, namespace, name string
	annotations           map[string]string
	owner                 string
	pods                  corev1.PodTemplateSpec
	claims                []string
	selector              *metav1.LabelSelector
	// failed is what its status says of pods that are not created.
	failed string
}

func (t *template) workload() string { return t.kind + "/" + t.name }

// lookAtPods looks at the pods and workloads that the scope is about.
func (r *run) lookAtPods(ctx context.Context) error {
	selector := r.scope.Selector
	if selector == nil {
		selector = labels.Everything()
	}
	if r.scope.Kind == "Pod" {
		pod, err := r.Client.CoreV1().Pods(r.scope.Namespace).Get(ctx, r.scope.Name, metav1.GetOptions{})
		if err != nil {
			return fmt.Errorf("pod %q in namespace %q: %w", r.scope.Name, r.scope.Namespace, err)
		}
		r.addPod(ctx, pod, true)
		return nil
	}
	named := r.scope.Kind != ""
	if named {
		t, err := r.template(ctx, r.scope.Kind, r.scope.Namespace, r.scope.Name)
		if err != nil {
			return fmt.Errorf("%s %q in namespace %q: %w", r.scope.Kind, r.scope.Name, r.scope.Namespace, err)
		}
		r.addWorkload(ctx, t, true)
		if t.selector != nil {
			if selector, err = metav1.LabelSelectorAsSelector(t.selector); err != nil {
				return err
			}
		}
	} else if !r.scope.PodsOnly {
		if err := r.lookAtWorkloads(ctx, selector); err != nil {
			return err
		}
	}
	// A CronJob's pods are of its Jobs, which are named after it and the time.
	ofTheCronJob := regexp.MustCompile(`^Job/` + regexp.QuoteMeta(r.scope.Name) + `-\d+$`)
	pods := pager.New(pager.SimplePageFunc(func(page metav1.ListOptions) (runtime.Object, error) {
		return r.Client.CoreV1().Pods(r.scope.Namespace).List(ctx, page)
	}))
	err := pods.EachListItem(ctx, metav1.ListOptions{LabelSelector: selector.String()}, func(found runtime.Object) error {
		if pod, ok := found.(*corev1.Pod); ok && (r.scope.Kind != "CronJob" || ofTheCronJob.MatchString(podinfo.Workload(pod))) {
			r.addPod(ctx, pod, named || r.scope.Selector != nil)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("list pods: %w", err)
	}
	return nil
}

// lookAtWorkloads looks at all workloads of the scope; of a selector at those whose pods have its
// labels.
func (r *run) lookAtWorkloads(ctx context.Context, selector labels.Selector) error {
	apps, all := r.Client.AppsV1(), metav1.ListOptions{}
	var templates []*template
	// A kind that may not be read is told; the others are looked at.
	failed := func(kind string, err error) error {
		if apierrors.IsForbidden(err) {
			r.gap(doctor.Target{Namespace: r.scope.Namespace, Object: kind}, "the workloads", err)
			return nil
		}
		return fmt.Errorf("list %s: %w", kind, err)
	}
	if list, err := apps.Deployments(r.scope.Namespace).List(ctx, all); err == nil {
		for i := range list.Items {
			templates = append(templates, ofDeployment(&list.Items[i]))
		}
	} else if err := failed("Deployments", err); err != nil {
		return err
	}
	if list, err := apps.StatefulSets(r.scope.Namespace).List(ctx, all); err == nil {
		for i := range list.Items {
			templates = append(templates, ofStatefulSet(&list.Items[i]))
		}
	} else if err := failed("StatefulSets", err); err != nil {
		return err
	}
	if list, err := apps.DaemonSets(r.scope.Namespace).List(ctx, all); err == nil {
		for i := range list.Items {
			templates = append(templates, ofDaemonSet(&list.Items[i]))
		}
	} else if err := failed("DaemonSets", err); err != nil {
		return err
	}
	if list, err := r.Client.BatchV1().CronJobs(r.scope.Namespace).List(ctx, all); err == nil {
		for i := range list.Items {
			templates = append(templates, ofCronJob(&list.Items[i]))
		}
	} else if err := failed("CronJobs", err); err != nil {
		return err
	}
	for _, t := range templates {
		if selector.Matches(labels.Set(t.pods.Labels)) {
			r.addWorkload(ctx, t, false)
		}
	}
	return nil
}

func ofDeployment(o *appsv1.Deployment) *template {
	t := &template{kind: "Deployment", namespace: o.Namespace, name: o.Name, annotations: o.Annotations, owner: ownerOf(o), pods: o.Spec.Template, selector: o.Spec.Selector}
	for _, c := range o.Status.Conditions {
		if c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue {
			t.failed = c.Message
		}
	}
	return t
}

func ofStatefulSet(o *appsv1.StatefulSet) *template {
	t := &template{kind: "StatefulSet", namespace: o.Namespace, name: o.Name, annotations: o.Annotations, owner: ownerOf(o), pods: o.Spec.Template, selector: o.Spec.Selector}
	for i := range o.Spec.VolumeClaimTemplates {
		t.claims = append(t.claims, o.Spec.VolumeClaimTemplates[i].Name)
	}
	return t
}

func ofCronJob(o *batchv1.CronJob) *template {
	return &template{kind: "CronJob", namespace: o.Namespace, name: o.Name, annotations: o.Annotations, owner: ownerOf(o), pods: o.Spec.JobTemplate.Spec.Template}
}

func ofDaemonSet(o *appsv1.DaemonSet) *template {
	return &template{kind: "DaemonSet", namespace: o.Namespace, name: o.Name, annotations: o.Annotations, owner: ownerOf(o), pods: o.Spec.Template, selector: o.Spec.Selector}
}

// ownerOf names what made an object and would put it right again; nothing where that is nothing.
func ownerOf(o metav1.Object) string {
	owner := metav1.GetControllerOfNoCopy(o)
	if owner == nil || owner.Kind == "Deployment" || owner.Kind == "CronJob" {
		return ""
	}
	return owner.Kind + "/" + owner.Name
}

// template reads one workload.
func (r *run) template(ctx context.Context, kind, namespace, name string) (*template, error) {
	get := metav1.GetOptions{}
	switch kind {
	case "Deployment":
		o, err := r.Client.AppsV1().Deployments(namespace).Get(ctx, name, get)
		if err != nil {
			return nil, err
		}
		return ofDeployment(o), nil
	case "StatefulSet":
		o, err := r.Client.AppsV1().StatefulSets(namespace).Get(ctx, name, get)
		if err != nil {
			return nil, err
		}
		return ofStatefulSet(o), nil
	case "DaemonSet":
		o, err := r.Client.AppsV1().DaemonSets(namespace).Get(ctx, name, get)
		if err != nil {
			return nil, err
		}
		return ofDaemonSet(o), nil
	case "ReplicaSet":
		o, err := r.Client.AppsV1().ReplicaSets(namespace).Get(ctx, name, get)
		if err != nil {
			return nil, err
		}
		return &template{kind: kind, namespace: namespace, name: name, annotations: o.Annotations, owner: ownerOf(o), pods: o.Spec.Template, selector: o.Spec.Selector}, nil
	case "Job":
		o, err := r.Client.BatchV1().Jobs(namespace).Get(ctx, name, get)
		if err != nil {
			return nil, err
		}
		return &template{kind: kind, namespace: namespace, name: name, annotations: o.Annotations, owner: ownerOf(o), pods: o.Spec.Template, selector: o.Spec.Selector}, nil
	case "CronJob":
		o, err := r.Client.BatchV1().CronJobs(namespace).Get(ctx, name, get)
		if err != nil {
			return nil, err
		}
		return ofCronJob(o), nil
	}
	return nil, errUnknownKind
}

// addWorkload adds a workload; one that is not named, only where it concerns us.
func (r *run) addWorkload(ctx context.Context, t *template, named bool) {
	if r.workloads[t.namespace+"/"+t.workload()] != nil {
		return
	}
	pod := corev1.Pod{ObjectMeta: t.pods.ObjectMeta, Spec: t.pods.Spec}
	d, _ := r.decide(ctx, inject.View(&pod), t.namespace, t.claims)
	w := &doctor.Workload{
		Namespace: t.namespace, Name: t.workload(), Decision: d,
		Owner: t.owner, Annotations: doctor.Ours(t.annotations), TemplateAnnotations: doctor.Ours(t.pods.Annotations), TemplateLabels: doctor.Ours(t.pods.Labels),
	}
	if concerns := len(d.Clients) > 0 || d.Source != "" || w.Annotations != nil || w.TemplateAnnotations != nil || w.TemplateLabels != nil; !concerns && !named {
		return
	}
	w.CreateFailed = ours(t.failed)
	if t.failed == "" {
		w.CreateFailed, w.CreateFailedAt = r.createFailed(ctx, t)
	}
	r.workloads[t.namespace+"/"+t.workload()] = w
}

// createFailed reads from events what the API server said of a pod that was not created.
func (r *run) createFailed(ctx context.Context, t *template) (message string, at time.Time) {
	if t.kind == "CronJob" || t.kind == "Deployment" {
		return "", at // which creates no pods itself
	}
	list, err := r.Client.CoreV1().Events(t.namespace).List(ctx, metav1.ListOptions{FieldSelector: "reason=FailedCreate,involvedObject.name=" + t.name + ",involvedObject.kind=" + t.kind})
	if err != nil {
		r.gap(doctor.Target{Namespace: t.namespace, Object: t.workload()}, "its events", err)
		return "", at
	}
	var last *corev1.Event
	for i := range list.Items {
		if e := &list.Items[i]; last == nil || last.LastTimestamp.Time.Before(e.LastTimestamp.Time) {
			last = e
		}
	}
	const recent = 10 * 60 // seconds
	if last == nil || r.snapshot.Taken.Sub(last.LastTimestamp.Time).Seconds() > recent {
		return "", at
	}
	return ours(last.Message), last.LastTimestamp.UTC()
}

// ours returns a message of the API server where it is about the injector's webhook.
func ours(message string) string {
	if !strings.Contains(message, "inject.s3-tls") {
		return ""
	}
	return message
}

// addPod adds a pod, with its workload; one that is not named, only where it concerns us.
func (r *run) addPod(ctx context.Context, p *corev1.Pod, named bool) {
	if over := p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed || p.DeletionTimestamp != nil; over && !named {
		return
	}
	view := inject.View(p)
	d, result := r.decide(ctx, view, p.Namespace, nil)
	pod := &doctor.Pod{
		Namespace: p.Namespace, Name: p.Name, Workload: r.workloadOf(ctx, p), Created: p.CreationTimestamp.UTC(), Ready: podinfo.IsReady(p),
		InjectedBy: p.Annotations[v1alpha1.InjectedBy], SHA256: p.Annotations[v1alpha1.CASHA256], Decision: d,
	}
	pod.Labels, pod.Annotations, pod.Named = doctor.Ours(p.Labels), doctor.Ours(p.Annotations), r.scope.Kind == "Pod"
	if concerns := pod.InjectedBy != "" || pod.Labels != nil || pod.Annotations != nil || d.Source != "" || len(d.Clients) > 0; !concerns && !named {
		return
	}
	if result.Settings != nil {
		pod.Wanted = &result.Settings.CA
	}
	pod.CA = pod.Wanted
	if carried, ok := view.CarriedCA(); ok && pod.InjectedBy != "" {
		pod.CA = &carried
	}
	if pod.CA != nil {
		if found := r.ca(ctx, p.Namespace, *pod.CA); found != nil && pod.InjectedBy != "" {
			carried := podinfo.Carried{SHA256: pod.SHA256, Started: podinfo.Started(p)}
			pod.Stale, pod.CAKnown = carried.IsStale(found.Judgement.SHA256, r.object(ctx, pod.CA.Kind.ObjectKind(), p.Namespace, pod.CA.Name).changed)
		}
	}
	for _, list := range [][]inject.Container{view.Spec.InitContainers, view.Spec.Containers} {
		for i := range list {
			if c := &list[i]; slices.Contains(d.Clients, c.Name) || slices.Contains(result.Chosen, c.Name) {
				pod.Clients = append(pod.Clients, r.client(ctx, pod, &view, c))
			}
		}
	}
	r.snapshot.Pods = append(r.snapshot.Pods, pod)
}

// workloadOf names what a pod belongs to, and adds it.
func (r *run) workloadOf(ctx context.Context, p *corev1.Pod) string {
	name := podinfo.Workload(p)
	kind, object, _ := strings.Cut(name, "/")
	if r.scope.PodsOnly || r.workloads[p.Namespace+"/"+name] != nil || slices.Contains([]string{"Pod", "ReplicaSet", "Job"}, kind) {
		return name
	}
	t, err := r.template(ctx, kind, p.Namespace, object)
	switch {
	case err == nil:
		r.addWorkload(ctx, t, true)
	case !errors.Is(err, errUnknownKind) && !apierrors.IsNotFound(err):
		r.gap(doctor.Target{Namespace: p.Namespace, Object: name}, "its pod template", err)
	}
	return name
}

// client looks at an S3 client: where its CA is, what its configuration and its log say.
func (r *run) client(ctx context.Context, pod *doctor.Pod, view *inject.Pod, c *inject.Container) doctor.Client {
	client := doctor.Client{Container: c.Name}
	if pod.CA != nil {
		client.File = view.FileIn(c.Name, *pod.CA)
	}
	if !r.scope.Deep {
		return client
	}
	client.Trusts, client.TrustsUnseen = trusted(view, c)
	for _, of := range client.Trusts {
		r.ca(ctx, pod.Namespace, of)
	}
	for _, source := range sourcesOf(view, c) {
		client.Configs = append(client.Configs, r.config(ctx, pod, view, c, &source)...)
	}
	if hasS3Flag(c) && !slices.ContainsFunc(client.Configs, func(config doctor.Config) bool { return len(config.Storages) > 0 }) {
		r.snapshot.Gaps = append(r.snapshot.Gaps, doctor.Gap{
			Target: doctor.Target{Namespace: pod.Namespace, Object: pod.Workload, Pods: []string{pod.Name}},
			What:   "the flags of " + c.Name + " that configure its storage", Why: "only configuration files are read", Fix: askByHand(pod),
		})
	}
	client.LogErrors = r.logErrors(ctx, pod, c.Name)
	return client
}

// askByHand is the command that asks an endpoint which cannot be read from the cluster.
func askByHand(pod *doctor.Pod) string {
	return fmt.Sprintf("kubectl s3-tls doctor -n %s %s --endpoint HOST:PORT", pod.Namespace, pod.Name)
}

// config reads a configuration; none where it cannot be seen.
func (r *run) config(ctx context.Context, pod *doctor.Pod, view *inject.Pod, c *inject.Container, from *source) []doctor.Config {
	at := doctor.Target{Namespace: pod.Namespace, Object: pod.Workload, Pods: []string{pod.Name}}
	if from.why != "" {
		r.snapshot.Gaps = append(r.snapshot.Gaps, doctor.Gap{
			Target: at, What: fmt.Sprintf("the configuration of %s (--%s)", c.Name, from.flag), Why: from.why,
			Fix: askByHand(pod),
		})
		return nil
	}
	config := doctor.Config{Place: from.place(), Complete: !hasS3Flag(c)}
	file := []byte(from.text)
	if from.kind != "" {
		o := r.object(ctx, from.kind, pod.Namespace, from.name)
		if o.err != nil {
			return nil // it is told
		}
		var there bool
		if file, there = o.data[from.key]; !there {
			config.Missing = true
			return []doctor.Config{config}
		}
	}
	storages, err := storageconfig.Parse(file, storageconfig.Variables{
		Of: func(name string) (string, bool) { return value(c, name) }, Braces: expandsBraces(c),
	})
	if err != nil {
		config.Invalid = true
		return []doctor.Config{config}
	}
	for _, s := range storages {
		storage := doctor.Storage{Storage: s, CAFileMounted: s.CAFile != "" && mounted(c, s.CAFile)}
		if place, ok := locate(view, c, s.CAFile); ok && s.CAFile != "" {
			of := place.ca()
			storage.CA = &of
			r.ca(ctx, pod.Namespace, of)
		}
		if s.HasVariable() {
			r.snapshot.Gaps = append(r.snapshot.Gaps, doctor.Gap{
				Target: at, What: fmt.Sprintf("the storage of %s (%s)", c.Name, config.Place), Why: "its settings hold a variable whose value is not in the pod's manifest",
				Fix: askByHand(pod),
			})
		}
		config.Storages = append(config.Storages, storage)
	}
	return []doctor.Config{config}
}

// logKinds are what clients say of TLS that fails.
//
//nolint:gochecknoglobals // a constant
var logKinds = []string{
	"x509: certificate signed by unknown authority", "x509: certificate has expired or is not yet valid", "x509: certificate is valid for",
	"x509: cannot validate certificate", "server gave HTTP response to HTTPS client", "Client sent an HTTP request to an HTTPS server",
	"first record does not look like a TLS handshake", "remote error: tls:",
}

// logErrors counts what the log of a container says of TLS. No line of it is kept.
func (r *run) logErrors(ctx context.Context, pod *doctor.Pod, container string) map[string]int {
	lines, hour := int64(500), int64(3600)
	stream, err := r.Client.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{
		Container: container, TailLines: &lines, SinceSeconds: &hour,
	}).Stream(ctx)
	if err != nil {
		return nil // a container that does not run has none
	}
	defer stream.Close()
	var counts map[string]int
	scanner := bufio.NewScanner(stream)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		for _, kind := range logKinds {
			if strings.Contains(scanner.Text(), kind) {
				if counts == nil {
					counts = map[string]int{}
				}
				counts[kind]++
			}
		}
	}
	return counts
}
