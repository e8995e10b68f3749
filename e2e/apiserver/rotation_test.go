package apiserver

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// keeper stands in for the controller of a StatefulSet and for the kubelet: it creates
// pods that are missing, and makes them ready after a moment. There are neither here.
type keeper struct {
	c   client.Client
	set *appsv1.StatefulSet
	// pods to keep, and the annotations of their template.
	replicas    int
	annotations map[string]string

	mu      sync.Mutex
	unready int // the most pods that were missing or not ready at once
	err     error
}

// keep keeps pods until the test ends, and returns once all are ready.
func keep(t *testing.T, c client.Client, namespace, name string, replicas int, annotations map[string]string) *keeper {
	t.Helper()
	k := &keeper{c: c, set: newStatefulSet(t, c, namespace, name), replicas: replicas, annotations: annotations}
	ready := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() {
		for first := true; ctx.Err() == nil; {
			unready := k.turn(ctx)
			if first && unready == 0 {
				first = false
				close(ready)
			}
			if !first {
				k.mu.Lock()
				k.unready = max(k.unready, unready)
				k.mu.Unlock()
			}
			time.Sleep(50 * time.Millisecond)
		}
	})
	t.Cleanup(func() {
		cancel()
		done.Wait()
		if k.err != nil {
			t.Error(k.err)
		}
	})
	select {
	case <-ready:
	case <-time.After(20 * time.Second):
		t.Fatalf("the pods of %s do not get ready: %v", name, k.err)
	}
	return k
}

// turn creates or makes ready what is not, and returns how many that were.
func (k *keeper) turn(ctx context.Context) (unready int) {
	for i := range k.replicas {
		pod := newPod(k.set.Namespace, ownedBy(k.set, i))
		maps.Copy(pod.Annotations, k.annotations)
		pod.Spec.TerminationGracePeriodSeconds = new(int64(0)) // no kubelet would let it end
		found := &corev1.Pod{}
		err := k.c.Get(ctx, client.ObjectKeyFromObject(pod), found)
		switch {
		case apierrors.IsNotFound(err):
			unready++
			err = k.c.Create(ctx, pod)
		case err == nil && len(found.Status.Conditions) == 0:
			unready++
			found.Status.Phase = corev1.PodRunning
			found.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
			found.Status.ContainerStatuses = []corev1.ContainerStatus{{
				Name: found.Spec.Containers[0].Name, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}},
			}}
			err = k.c.Status().Update(ctx, found)
		}
		if err != nil && ctx.Err() == nil {
			k.err = err
		}
	}
	return unready
}

func (k *keeper) most() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.unready
}

// uids returns the pods' identities, and how many carry a CA.
func (k *keeper) uids(t *testing.T, sha256 string) (all map[types.UID]bool, current int) {
	t.Helper()
	list := &corev1.PodList{}
	if err := k.c.List(t.Context(), list, client.InNamespace(k.set.Namespace), client.MatchingLabels{"app": k.set.Name}); err != nil {
		t.Fatal(err)
	}
	all = map[types.UID]bool{}
	for i := range list.Items {
		all[list.Items[i].UID] = true
		if list.Items[i].Annotations["s3-tls/ca-sha256"] == sha256 {
			current++
		}
	}
	return all, current
}

var restart = map[string]string{"s3-tls/on-rotation": "restart"}

// A new CA replaces the pods that ask for it, one at a time of each workload; a
// PodDisruptionBudget makes its pods wait; the others stay. A leader that takes over goes on.
func TestRotation(t *testing.T) {
	c, _ := newClient(t)
	old, renewed := certificate(t, true, inAYear()), certificate(t, true, inAYear())
	both := slices.Concat(renewed, old)
	namespace := newNamespace(t, c, nil, nil)
	putCA(t, c, namespace, old)
	store := keep(t, c, namespace, "store", 3, restart)
	silent := keep(t, c, namespace, "silent", 2, nil)
	blocked := keep(t, c, namespace, "blocked", 1, restart)
	alone := newPod(namespace, func(p *corev1.Pod) {
		optIn(p)
		p.Name, p.Annotations["s3-tls/on-rotation"] = "alone", "restart"
	})
	if err := c.Create(t.Context(), alone); err != nil {
		t.Fatal(err)
	}
	budget := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "blocked"}, Spec: policyv1.PodDisruptionBudgetSpec{
		MinAvailable: new(intstr.FromInt32(1)), Selector: blocked.set.Spec.Selector,
	}}
	if err := c.Create(t.Context(), budget); err != nil {
		t.Fatal(err)
	}
	allow(t, c, budget, 0)
	silentBefore, _ := silent.uids(t, "")
	blockedBefore, _ := blocked.uids(t, "")

	putCA(t, c, namespace, both)
	expectRotated(t, store, shaOf(both))
	if most := store.most(); most != 1 {
		t.Errorf("%d pods of one workload were replaced at once", most)
	}
	expectEvents(t, c, namespace, "blocked",
		`Warning RotationBlocked: pod "blocked-0" is not replaced yet: a PodDisruptionBudget does not allow its eviction now`)
	expectEvents(t, c, namespace, "alone",
		"Normal RotationSkipped: the CA has changed: nothing would create the pod again; delete and create it to give it the new CA")
	if after, _ := blocked.uids(t, ""); !sameKeys(after, blockedBefore) {
		t.Error("a pod was replaced against its PodDisruptionBudget")
	}
	if err := injector.Stop(); err != nil {
		t.Fatal(err)
	}
	restartInjector(t)
	allow(t, c, budget, 1)
	expectRotated(t, blocked, shaOf(both))
	if after, _ := silent.uids(t, ""); !sameKeys(after, silentBefore) {
		t.Error("pods were replaced that do not ask for it")
	}
	within(t, 20*time.Second, "the metrics", func() error {
		if found := metric(t, injector, "s3_tls_"); !strings.Contains(found, fmt.Sprintf(`s3_tls_restarts_total{namespace="%s",result="replaced"} 1`, namespace)) ||
			!strings.Contains(found, fmt.Sprintf(`s3_tls_pods{namespace="%s",state="stale"} 3`, namespace)) { // silent's and the one alone
			return errors.New(found)
		}
		return nil
	})
}

// allow sets what the controller of budgets would.
func allow(t *testing.T, c client.Client, budget *policyv1.PodDisruptionBudget, disruptions int32) {
	t.Helper()
	budget.Status = policyv1.PodDisruptionBudgetStatus{
		DisruptionsAllowed: disruptions, CurrentHealthy: 1, DesiredHealthy: 1 - disruptions, ExpectedPods: 1, ObservedGeneration: budget.Generation,
	}
	if err := c.Status().Update(t.Context(), budget); err != nil {
		t.Fatal(err)
	}
}

func expectRotated(t *testing.T, k *keeper, sha256 string) {
	t.Helper()
	within(t, time.Minute, k.set.Name+" to be replaced", func() error {
		all, current := k.uids(t, sha256)
		if len(all) != k.replicas || current != k.replicas {
			return fmt.Errorf("%d of %d pods carry the new CA", current, len(all))
		}
		return nil
	})
}

func sameKeys(a, b map[types.UID]bool) bool {
	for key := range a {
		if !b[key] {
			return false
		}
	}
	return len(a) == len(b)
}

// A namespace's annotation and a policy ask for all their pods. A new CA that is of no use
// replaces nothing; one without the old one is told of.
func TestRotationByNamespaceAndPolicy(t *testing.T) {
	c, _ := newClient(t)
	applyPolicy(t, policyClient(t), "rotates", "namespaceSelector: {matchLabels: {rotates: 'true'}}\nca: {secret: {name: s3-tls-cert}}\nonRotation: Restart")
	byPolicy := newNamespace(t, c, map[string]string{"rotates": "true"}, nil)
	byAnnotation := newNamespace(t, c, nil, restart)
	old, renewed := certificate(t, true, inAYear()), certificate(t, true, inAYear())
	var kept []*keeper
	for _, namespace := range []string{byPolicy, byAnnotation} {
		putCA(t, c, namespace, old)
		kept = append(kept, keep(t, c, namespace, "store", 1, nil))
	}
	time.Sleep(2 * time.Second) // the injector sees the pods with the old one
	putCA(t, c, byPolicy, certificate(t, false, inAYear()))
	putCA(t, c, byAnnotation, renewed)
	expectRotated(t, kept[1], shaOf(renewed))
	expectEvents(t, c, byAnnotation, "s3-tls-cert", "Warning RotationWithoutOverlap: the new CA does not hold the old one")
	expectEvents(t, c, byPolicy, "s3-tls-cert",
		"Warning RotationRefused: the new CA is of no use, so no pod is replaced: certificate 1 (S3 CA) is self-signed and no CA; issue one by a CA, and put that CA there")
	if _, current := kept[0].uids(t, shaOf(old)); current != 1 {
		t.Error("a pod was replaced for a CA that is none")
	}
	putCA(t, c, byPolicy, append(renewed, old...))
	expectRotated(t, kept[0], shaOf(append(renewed, old...)))
}

// A pod that does not say its CA is replaced when the CA changed after it started, and not
// before; here it started with a file without a certificate.
func TestRotationOfPodsThatDoNotSayTheirCA(t *testing.T) {
	c, _ := newClient(t)
	namespace := newNamespace(t, c, nil, nil)
	putCA(t, c, namespace, []byte("to be filled in"))
	time.Sleep(2 * time.Second) // times are in whole seconds
	store := keep(t, c, namespace, "store", 2, restart)
	before, said := store.uids(t, "")
	if said != 2 {
		t.Fatalf("%d of 2 pods say no CA", said)
	}
	labelled := &corev1.Secret{}
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "s3-tls-cert"}, labelled); err != nil {
		t.Fatal(err)
	}
	labelled.Labels = map[string]string{"team": "storage"}
	if err := c.Update(t.Context(), labelled, client.FieldOwner("labels")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(15 * time.Second) // more than a CA has to be unchanged before the first pod goes
	if after, _ := store.uids(t, ""); !sameKeys(after, before) {
		t.Error("pods were replaced though their CA did not change")
	}
	good := certificate(t, true, inAYear())
	putCA(t, c, namespace, good)
	expectRotated(t, store, shaOf(good))
}
