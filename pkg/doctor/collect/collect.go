// Package collect takes a snapshot of a cluster for pkg/doctor: it does all of its input and
// output, reads as the user who runs it, and writes nothing but a pod for --in-cluster.
package collect

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"gomodules.xyz/jsonpatch/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/api/v1alpha1"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/ca"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/doctor"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/inject"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/settings"
)

// Scope says what a snapshot is about.
type Scope struct {
	// Namespace; empty: all of them.
	Namespace string
	// Kind and Name are an object of the namespace, Pod or a workload; empty: all of them.
	Kind, Name string
	// Selector is one of pods.
	Selector labels.Selector
	// Endpoint is one that is asked beside those of the pods: HOST:PORT.
	Endpoint string
	// InCluster asks endpoints from a pod, and else from here; Image is the pod's, empty for that of
	// the injector.
	InCluster bool
	Image     string
	// Deep looks at configurations, logs and endpoints too, and creates a pod as a dry run.
	Deep bool
	// PodsOnly leaves out workloads, and of the install what says nothing about pods.
	PodsOnly bool
}

// Collector takes snapshots.
type Collector struct {
	Client  kubernetes.Interface
	Dynamic dynamic.Interface
	Now     func() time.Time
	// Timeout is how long an endpoint may take to answer.
	Timeout time.Duration
	// Progress is told what is done next.
	Progress func(format string, args ...any)
}

// run is what one snapshot needs.
type run struct {
	*Collector

	scope    Scope
	snapshot *doctor.Snapshot

	exempt     []string
	namespaces map[string]*inject.Namespace
	policies   []inject.Policy
	objects    map[objectKey]*object
	cas        map[caKey]*doctor.CA
	workloads  map[string]*doctor.Workload
}

// Take takes a snapshot. What cannot be seen is a gap in it; it fails where nothing can be told.
func (c *Collector) Take(ctx context.Context, scope Scope) (*doctor.Snapshot, error) {
	r := c.newRun(scope)
	server, err := c.Client.Discovery().ServerVersion()
	if err != nil {
		return nil, fmt.Errorf("reach the cluster: %w", err)
	}
	r.snapshot.Server = server.GitVersion
	c.Progress("looking at the injector")
	r.lookAtInstall(ctx)
	r.readPolicies(ctx)
	c.Progress("looking at pods and workloads")
	if err := r.lookAtNamespaces(ctx); err != nil {
		return nil, err
	}
	if err := r.lookAtPods(ctx); err != nil {
		return nil, err
	}
	if scope.Deep {
		r.tryOut(ctx)
		r.askEndpoints(ctx)
		r.lookElsewhere(ctx)
	}
	for _, w := range r.workloads {
		r.snapshot.Workloads = append(r.snapshot.Workloads, w)
	}
	slices.SortFunc(r.snapshot.Workloads, func(a, b *doctor.Workload) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
	return r.snapshot, nil
}

func (c *Collector) newRun(scope Scope) *run {
	return &run{
		Collector: c, scope: scope, snapshot: &doctor.Snapshot{Version: doctor.SnapshotVersion, Taken: c.Now().UTC(), Namespaces: map[string]*doctor.Namespace{}},
		namespaces: map[string]*inject.Namespace{}, objects: map[objectKey]*object{}, cas: map[caKey]*doctor.CA{}, workloads: map[string]*doctor.Workload{},
	}
}

// gap notes what could not be seen.
func (r *run) gap(at doctor.Target, what string, err error) {
	r.snapshot.Gaps = append(r.snapshot.Gaps, doctor.Gap{Target: at, What: what, Why: reason(err), Fix: fixOf(err)})
}

// reason is a short text of an error, without what it may quote of an object.
func reason(err error) string {
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		switch s := status.Status(); s.Reason { //nolint:exhaustive // the others say it themselves
		case metav1.StatusReasonForbidden:
			return "you are not allowed to read it"
		case metav1.StatusReasonNotFound:
			return "it is not there"
		default:
			return s.Message
		}
	}
	return err.Error()
}

func fixOf(err error) string {
	if apierrors.IsForbidden(err) {
		return "run it as somebody who may, or ask for the right"
	}
	return "run it again"
}

func cluster(object string) doctor.Target { return doctor.Target{Object: object} }

// lookAtNamespaces reads those that the snapshot is about.
func (r *run) lookAtNamespaces(ctx context.Context) error {
	if r.scope.Namespace != "" {
		_, err := r.namespace(ctx, r.scope.Namespace)
		if apierrors.IsNotFound(err) {
			return fmt.Errorf("there is no namespace %q", r.scope.Namespace)
		}
		return nil
	}
	list, err := r.Client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list namespaces: %w", err)
	}
	for i := range list.Items {
		r.addNamespace(&list.Items[i])
	}
	return nil
}

// namespace looks a namespace up. One that may not be read counts as without labels, and that is
// told.
func (r *run) namespace(ctx context.Context, name string) (inject.Namespace, error) {
	if found := r.namespaces[name]; found != nil {
		return *found, nil
	}
	found, err := r.Client.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		if !apierrors.IsNotFound(err) {
			r.gap(cluster("Namespace/"+name), doctor.LabelsSubject, err)
		}
		r.namespaces[name] = &inject.Namespace{Name: name, Labels: map[string]string{corev1.LabelMetadataName: name}}
		return *r.namespaces[name], err
	}
	return *r.addNamespace(found), nil
}

func (r *run) addNamespace(n *corev1.Namespace) *inject.Namespace {
	r.namespaces[n.Name] = &inject.Namespace{Name: n.Name, Labels: n.Labels, Annotations: n.Annotations}
	r.snapshot.Namespaces[n.Name] = &doctor.Namespace{
		Labels: doctor.Ours(n.Labels), Annotations: doctor.Ours(n.Annotations), Exempt: slices.Contains(r.exempt, n.Name),
	}
	return r.namespaces[n.Name]
}

// input is what a decision about a pod depends on.
func (r *run) input(ctx context.Context, pod inject.Pod, namespace string, claims []string) inject.Input {
	n, _ := r.namespace(ctx, namespace) // what cannot be read is told
	return inject.Input{
		Pod: pod, Namespace: n, Policies: r.policies, ExemptNamespaces: r.exempt, ClaimTemplates: claims,
		CA: func(of settings.CA) (ca.Judgement, bool) {
			if found := r.ca(ctx, namespace, of); found != nil {
				return found.Judgement, true
			}
			return ca.Judgement{}, false
		},
	}
}

// decide says what would be done with a pod that is created now.
func (r *run) decide(ctx context.Context, pod inject.Pod, namespace string, claims []string) (doctor.Decision, inject.Result) {
	result := inject.Decide(r.input(ctx, pod, namespace, claims))
	d := doctor.Decision{
		Decision: result.Decision, Reason: result.Reason, Source: result.Source, Rule: result.Rule, Clients: pod.Clients(),
		Adds: slices.ContainsFunc(result.Patch, func(op jsonpatch.Operation) bool { return strings.HasPrefix(op.Path, "/spec/") }),
	}
	for _, m := range result.Mistakes {
		d.Mistakes = append(d.Mistakes, m.String())
	}
	for _, m := range result.Warnings {
		d.Warnings = append(d.Warnings, m.String())
	}
	return d, result
}

// addExempt adds namespaces to those that are exempt in every install.
func (r *run) addExempt(names ...string) {
	if len(r.exempt) == 0 {
		r.exempt = v1alpha1.ExemptNamespaces()
	}
	for _, name := range names {
		if name != "" && !slices.Contains(r.exempt, name) {
			r.exempt = append(r.exempt, name)
		}
	}
}
