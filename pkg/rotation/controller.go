package rotation

import (
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/events"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/ca"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/inject"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/observed"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/settings"
)

// How soon the next plan is made: while something is going on, and else, where no change
// asks for one earlier.
const (
	busyPause = 500 * time.Millisecond
	idlePause = 15 * time.Second
)

// CAs knows the CAs of the cluster.
type CAs interface {
	Bundle(namespace string, what settings.CA) (bundle *ca.Bundle, known bool)
	DataChanged(namespace string, what settings.CA) time.Time
	Changed() <-chan struct{}
}

// Controller carries plans out, while it runs. Only one may run in a cluster.
type Controller struct {
	Client kubernetes.Interface
	CAs    CAs
	// Namespace looks a namespace up.
	Namespace func(ctx context.Context, name string) (inject.Namespace, error)
	// Policies returns the policies of the cluster; it is nil where there are none.
	Policies func() []inject.Policy
	Events   events.EventRecorder
	Limits   Limits
	Metrics  *Metrics
	Now      func() time.Time
	Log      logr.Logger

	pods *observed.Store[*Pod]
}

// Start runs until ctx ends. It implements controller-runtime's manager.Runnable.
func (c *Controller) Start(ctx context.Context) error {
	c.pods = observed.NewStore(reduce)
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		c.pods.Watch(ctx, observed.Objects{
			Client: c.Client.CoreV1().RESTClient(), Resource: "pods", Example: &corev1.Pod{}, Log: c.Log,
			Denied: func() { c.Log.Info("not allowed to watch pods; none is counted or replaced") },
		})
	}()
	c.Metrics.follow(c)
	defer c.Metrics.follow(nil)
	planner := &Planner{Limits: c.Limits}
	for {
		changed, caChanged := c.pods.Changed(), c.CAs.Changed()
		pause := idlePause
		if c.pods.State() == observed.Synced && c.turn(ctx, planner) {
			pause = busyPause
		}
		select {
		case <-ctx.Done():
			<-watching
			return nil
		case <-changed:
			sleep(ctx, busyPause) // pods change by the dozen
		case <-caChanged:
			sleep(ctx, busyPause)
		case <-time.After(pause):
		}
	}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// turn makes a plan and carries it out.
func (c *Controller) turn(ctx context.Context, planner *Planner) (busy bool) {
	plan := planner.Plan(c.cluster(ctx), c.Now())
	for i := range plan.Events {
		c.tell(plan.Events[i])
	}
	for namespace, n := range plan.Replaced {
		c.Metrics.restarts.WithLabelValues(namespace, "replaced").Add(float64(n))
	}
	for namespace, n := range plan.Stopped {
		c.Metrics.restarts.WithLabelValues(namespace, "stopped").Add(float64(n))
	}
	for _, p := range plan.Evict {
		c.evict(ctx, planner, p)
	}
	return plan.Busy
}

// cluster is what is known now. The namespaces and policies are looked up for pods
// alone whose CA has changed.
func (c *Controller) cluster(ctx context.Context) Cluster {
	cluster := Cluster{Bundle: c.CAs.Bundle, Changed: c.CAs.DataChanged}
	for _, p := range c.pods.All() {
		cluster.Pods = append(cluster.Pods, p)
	}
	cluster.Restarts = func(p *Pod) bool {
		in := inject.Input{Pod: inject.Pod{Metadata: &p.Metadata}}
		var err error
		if in.Namespace, err = c.Namespace(ctx, p.Namespace); err != nil {
			return false // the next plan tries again
		}
		if c.Policies != nil {
			in.Policies = c.Policies()
		}
		return inject.OptedIn(in) && inject.SettingsOf(in).RestartOnRotation
	}
	return cluster
}

// evict asks for a pod's eviction. One that another has removed meanwhile is as good as
// evicted: the planner waits for the new one all the same.
func (c *Controller) evict(ctx context.Context, planner *Planner, p *Pod) {
	log := c.Log.WithValues("namespace", p.Namespace, "pod", p.Name)
	err := c.Client.PolicyV1().Evictions(p.Namespace).Evict(ctx, &policyv1.Eviction{
		ObjectMeta:    metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name},
		DeleteOptions: &metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(p.UID))},
	})
	switch {
	case err == nil, apierrors.IsNotFound(err), apierrors.IsConflict(err):
		for _, result := range []string{"replaced", "stopped", "blocked", "error"} {
			c.Metrics.restarts.WithLabelValues(p.Namespace, result).Add(0) // an increase is seen from 0 alone
		}
		log.Info("evicted: its CA has changed")
		c.tell(p.event(corev1.EventTypeNormal, "CARotated", fmt.Sprintf("replacing pod %q: its CA has changed", p.Name)))
	case apierrors.IsTooManyRequests(err):
		if planner.Blocked(p, c.Now()) {
			c.tell(p.event(corev1.EventTypeWarning, "RotationBlocked",
				fmt.Sprintf("pod %q is not replaced yet: a PodDisruptionBudget does not allow its eviction now", p.Name)))
		}
		c.Metrics.restarts.WithLabelValues(p.Namespace, "blocked").Inc()
	default:
		if planner.Blocked(p, c.Now()) { // the API server answers so where two PodDisruptionBudgets select the pod
			c.tell(p.event(corev1.EventTypeWarning, "RotationBlocked", fmt.Sprintf("pod %q cannot be evicted: %s", p.Name, apierrors.ReasonForError(err))))
		}
		c.Metrics.restarts.WithLabelValues(p.Namespace, "error").Inc()
		log.Error(err, "evict")
	}
}

func (c *Controller) tell(e Event) {
	var pod runtime.Object // an interface that is nil, where there is none
	if e.Pod != nil {
		pod = e.Pod
	}
	c.Events.Eventf(&e.Regarding, pod, e.Type, e.Reason, "Rotate", "%s", e.Note)
}

// Used returns the CAs that pods carry, by namespace.
func (c *Controller) Used() map[string][]settings.CA {
	used := map[string][]settings.CA{}
	seen := map[place]bool{}
	for _, p := range c.pods.All() {
		if at := (place{p.Namespace, p.CA}); !seen[at] && !p.Finished {
			seen[at] = true
			used[p.Namespace] = append(used[p.Namespace], p.CA)
		}
	}
	return used
}
