// Package controller leads the API server to the injector for what policies
// select: it writes the entries of one MutatingWebhookConfiguration, which is
// installed empty, and says in each policy's status what became of it.
//
// It decides nothing about pods, and it can create no configuration: once that
// one is removed, no entry comes back.
package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/api/v1alpha1"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/entry"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/inject"
)

// ConfigurationName is that of the object that holds the policies' entries.
const ConfigurationName = "s3-tls-injector-policies"

// fieldOwner owns the entries.
const fieldOwner = client.FieldOwner("s3-tls-injector")

// refresh is how often all is compared with what is written, and the serving
// certificate's CA is read again.
const refresh = 15 * time.Second

// caPause gathers changes of CAs, which often come in many namespaces at once.
const caPause = time.Second

// maxConfiguration is how large the configuration may become, in bytes. etcd takes
// objects of 1.5 MiB, and the API server adds who owns which field.
const maxConfiguration = 1_250_000

// PolicySource tells of the cluster's policies.
type PolicySource interface {
	// Policies returns them by name, and the version of their last change. synced is
	// false before the first list.
	Policies() (policies []*v1alpha1.InjectionPolicy, version string, synced bool)
	// Follow calls with the policies, and again at each change, until ctx ends.
	Follow(ctx context.Context, each func([]*v1alpha1.InjectionPolicy))
}

// Policies keeps the entries of the policies.
type Policies struct {
	// Source is what this replica's reviews are answered from: an entry is written
	// only when the replica itself knows its policies. It has none where the CRD is not
	// installed, and then the entries go.
	Source PolicySource
	Client client.Client
	Events events.EventRecorder
	// Service is where the API server reaches the injector. Its path is the
	// beginning of every entry's, which goes on with a version.
	Service admissionregistrationv1.ServiceReference
	// ServingCA returns the CA of the serving certificate, as PEM.
	ServingCA func() ([]byte, error)
	// CAs judges what the policies name.
	CAs *CAs
	// ExemptNamespaces are never injected.
	ExemptNamespaces []string

	written written
}

// SetupWithManager makes a manager run it where that is the leader.
func (c *Policies) SetupWithManager(manager ctrl.Manager) error {
	request := reconcile.Request{NamespacedName: types.NamespacedName{Name: ConfigurationName}}
	changes := source.Func(func(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		go c.Source.Follow(ctx, func([]*v1alpha1.InjectionPolicy) { queue.Add(request) })
		go c.followCAs(ctx, func() { queue.AddAfter(request, caPause) })
		return nil
	})
	all := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request {
		return []reconcile.Request{request}
	})
	return ctrl.NewControllerManagedBy(manager).
		Named("policies").
		WatchesRawSource(changes).
		Watches(&admissionregistrationv1.MutatingWebhookConfiguration{}, all).
		Complete(c)
}

// followCAs calls at each change of a CA until ctx ends.
func (c *Policies) followCAs(ctx context.Context, changed func()) {
	for {
		next := c.CAs.Bundles.Changed()
		changed()
		select {
		case <-next:
		case <-ctx.Done():
			return
		}
	}
}

// Reconcile writes all entries and every status. It is called with one name only.
func (c *Policies) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	policies, version, synced := c.Source.Policies()
	if !synced {
		return reconcile.Result{RequeueAfter: time.Second}, nil
	}
	found := judge(policies)
	c.CAs.begin()
	configurationErr := c.configure(ctx, found, version)
	errs := []error{configurationErr}
	for _, v := range found {
		errs = append(errs, c.writeStatus(ctx, v, configurationErr))
	}
	return reconcile.Result{RequeueAfter: refresh}, errors.Join(errs...)
}

// verdict is a policy and what is wrong with it.
type verdict struct {
	policy *v1alpha1.InjectionPolicy
	// mistakes is nil for a valid policy.
	mistakes error
	// behind are the policies that go first where both select a pod.
	behind []string
	// crowded tells that its entry has no room in the configuration.
	crowded bool
}

// judge judges policies, which are in the order of their names.
func judge(policies []*v1alpha1.InjectionPolicy) []*verdict {
	all := make([]*verdict, len(policies))
	for i, p := range policies {
		_, err := inject.NewPolicy(p)
		all[i] = &verdict{policy: p, mistakes: err}
		for _, first := range policies[:i] {
			if mayOverlap(first, p) {
				all[i].behind = append(all[i].behind, first.Name)
			}
		}
	}
	return all
}

// configure writes the entries of the valid policies where they are not there
// already.
func (c *Policies) configure(ctx context.Context, found []*verdict, version string) error {
	current := &admissionregistrationv1.MutatingWebhookConfiguration{}
	if err := c.Client.Get(ctx, types.NamespacedName{Name: ConfigurationName}, current); err != nil {
		if apierrors.IsNotFound(err) {
			return &notReadyError{reasonNotInstalled, fmt.Sprintf("there is no MutatingWebhookConfiguration %q; install it again", ConfigurationName)}
		}
		return fmt.Errorf("get webhook configuration %q: %w", ConfigurationName, err)
	}
	bundle, err := c.bundle(current)
	wanted := c.entries(found, version, bundle, current.Webhooks)
	if err != nil && len(wanted) > 0 {
		return &notReadyError{reasonNoCABundle, fmt.Sprintf("the CA of the serving certificate is not known: %v", err)}
	}
	if equality.Semantic.DeepEqual(current.Webhooks, wanted) {
		return nil
	}
	if err := c.apply(ctx, wanted); err != nil {
		return &notReadyError{reasonNotApplied, fmt.Sprintf("the API server does not take the entries: %v", err)}
	}
	ctrl.LoggerFrom(ctx).Info("entries written", "entries", len(wanted), "policies", len(found), "version", c.written.version)
	return nil
}

// entries returns the entries of the valid policies, each with the version that
// a replica must know before it answers. Where there are too many, those that are
// written already stay.
func (c *Policies) entries(found []*verdict, version string, bundle []byte, current []admissionregistrationv1.MutatingWebhook) []admissionregistrationv1.MutatingWebhook {
	var valid []*v1alpha1.InjectionPolicy
	verdicts := map[string]*verdict{}
	for _, v := range found {
		if v.mistakes == nil {
			valid = append(valid, v.policy)
			verdicts[v.policy.Name] = v
		}
	}
	entries := entry.Policies(admissionregistrationv1.WebhookClientConfig{CABundle: bundle}, c.ExemptNamespaces, valid)
	c.written.update(entries, version)
	service := c.Service
	service.Path = new(*c.Service.Path + c.written.version)
	for i := range entries {
		entries[i].Webhook.ClientConfig.Service = &service
	}
	var wanted []admissionregistrationv1.MutatingWebhook
	taken := fitting(entries, current)
	for i, e := range entries {
		if taken[i] {
			wanted = append(wanted, e.Webhook)
			continue
		}
		for _, p := range e.Policies {
			verdicts[p.Name].crowded = true
		}
	}
	return wanted
}

// fitting tells which entries the configuration has room for.
func fitting(entries []entry.Policy, current []admissionregistrationv1.MutatingWebhook) []bool {
	written := map[string]bool{}
	for i := range current {
		written[current[i].Name] = true
	}
	taken, size := make([]bool, len(entries)), 0
	for _, first := range []bool{true, false} {
		for i := range entries {
			if written[entries[i].Webhook.Name] != first {
				continue
			}
			if own := entries[i].Webhook.Size(); size+own <= maxConfiguration {
				taken[i] = true
				size += own
			}
		}
	}
	return taken
}

func (c *Policies) apply(ctx context.Context, webhooks []admissionregistrationv1.MutatingWebhook) error {
	configuration := &admissionregistrationv1.MutatingWebhookConfiguration{
		TypeMeta:   metav1.TypeMeta{APIVersion: "admissionregistration.k8s.io/v1", Kind: "MutatingWebhookConfiguration"},
		ObjectMeta: metav1.ObjectMeta{Name: ConfigurationName},
		Webhooks:   webhooks,
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(configuration)
	if err != nil {
		return err
	}
	object := &unstructured.Unstructured{Object: content}
	if err := c.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(object), fieldOwner, client.ForceOwnership); err != nil {
		return err
	}
	return c.dropForeign(ctx, object, webhooks)
}

// dropForeign removes entries of another owner. Applying leaves them, though the object is the
// injector's alone: one that was restored from a backup would refuse pods for ever.
func (c *Policies) dropForeign(ctx context.Context, applied *unstructured.Unstructured, wanted []admissionregistrationv1.MutatingWebhook) error {
	got := &admissionregistrationv1.MutatingWebhookConfiguration{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(applied.Object, got); err != nil {
		return err
	}
	if equality.Semantic.DeepEqual(got.Webhooks, wanted) {
		return nil
	}
	if wanted == nil {
		wanted = []admissionregistrationv1.MutatingWebhook{}
	}
	patch, err := json.Marshal([]map[string]any{{"op": "add", "path": "/webhooks", "value": wanted}})
	if err != nil {
		return err
	}
	return c.Client.Patch(ctx, got, client.RawPatch(types.JSONPatchType, patch), fieldOwner)
}
