package webhook

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/api/v1alpha1"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/inject"
)

// PoliciesPath is where the entries of policies lead. The version is the resource
// version of the policies from which the entry was made: a replica that has not
// been told of them yet waits until it has. So no pod is ever decided about by a
// server that does not know the policy for which it was called.
const PoliciesPath = Path + "/policies/"

const policiesPattern = PoliciesPath + "{" + versionValue + "}"

const versionValue = "version"

// policiesWait is how long a review waits for its policies. It is less than the
// timeout of the entries, so that the API server is told why.
const policiesWait = 3 * time.Second

// followPause is how often it is looked whether the policies are listed.
const followPause = 50 * time.Millisecond

// Policies gives the policies for a review.
type Policies interface {
	// At returns the policies as of a resource version or later; an error where it
	// is not told of them in time. Without a version it returns those that it knows.
	At(ctx context.Context, version string) ([]inject.Policy, error)
}

// ClusterPolicies are the policies that the API server has told of. It is the store
// of a cache.Reflector, which calls it in the order of the changes and for each
// before the next. So, unlike with an informer, all changes up to its version are
// in it.
type ClusterPolicies struct {
	Log logr.Logger

	mu     sync.Mutex
	byName map[string]knownPolicy
	known  atomic.Pointer[knownPolicies]
}

// knownPolicy is a policy as it was read, and ready for decisions.
type knownPolicy struct {
	object *v1alpha1.InjectionPolicy
	ready  inject.Policy
}

// knownPolicies are never changed; the next ones take their place.
type knownPolicies struct {
	// version is the resource version up to which all changes are in here. It is
	// empty where the API server serves no policies.
	version string
	// changed is that of the last change of a policy, which every replica is told of.
	changed  string
	policies []inject.Policy
	objects  []*v1alpha1.InjectionPolicy
	// replaced is closed when others have taken their place.
	replaced chan struct{}
}

// Watch follows the policies of a cluster until ctx ends. A cluster without the CRD
// has none.
func (c *ClusterPolicies) Watch(ctx context.Context, config *rest.Config) error {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return err
	}
	version := v1alpha1.GroupVersion()
	config = rest.CopyConfig(config)
	config.GroupVersion, config.APIPath = &version, "/apis"
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	client, err := rest.RESTClientFor(config)
	if err != nil {
		return fmt.Errorf("watch policies: %w", err)
	}
	watch := cache.NewListWatchFromClient(client, "injectionpolicies", metav1.NamespaceAll, fields.Everything())
	list := watch.ListWithContextFunc
	watch.ListWithContextFunc = func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		found, err := list(ctx, options)
		if apierrors.IsNotFound(err) {
			return &v1alpha1.InjectionPolicyList{}, nil
		}
		return found, err
	}
	// A CRD that is installed late, or again, is to be seen soon.
	backoff := wait.Backoff{Duration: 200 * time.Millisecond, Factor: 2, Jitter: 0.2, Steps: 100, Cap: 2 * time.Second}
	cache.NewReflectorWithOptions(watch, &v1alpha1.InjectionPolicy{}, c, cache.ReflectorOptions{Backoff: &backoff}).RunWithContext(ctx)
	return nil
}

// Synced tells whether the API server has listed the policies.
func (c *ClusterPolicies) Synced() bool { return c.known.Load() != nil }

// At implements Policies.
func (c *ClusterPolicies) At(ctx context.Context, version string) ([]inject.Policy, error) {
	ctx, cancel := context.WithTimeout(ctx, policiesWait)
	defer cancel()
	for {
		known := c.known.Load()
		if known == nil {
			return nil, errors.New("the policies are not listed yet")
		}
		reached, err := known.reached(version)
		if err != nil {
			return nil, err
		}
		if reached {
			return known.policies, nil
		}
		select {
		case <-known.replaced:
		case <-ctx.Done():
			return nil, fmt.Errorf("policies are known up to version %q, not %q: %w", known.version, version, context.Cause(ctx))
		}
	}
}

func (k *knownPolicies) reached(version string) (bool, error) {
	if version == "" || version == k.version || k.version == "" {
		return true, nil
	}
	order, err := resourceversion.CompareResourceVersion(k.version, version)
	return order >= 0, err
}

// Add implements cache.ReflectorStore.
func (c *ClusterPolicies) Add(object any) error { return c.Update(object) }

// Update implements cache.ReflectorStore.
func (c *ClusterPolicies) Update(object any) error {
	return c.change(object, func(p *v1alpha1.InjectionPolicy) {
		if p.DeletionTimestamp.IsZero() {
			c.byName[p.Name] = c.compile(p)
		} else {
			delete(c.byName, p.Name)
		}
	})
}

// Delete implements cache.ReflectorStore.
func (c *ClusterPolicies) Delete(object any) error {
	return c.change(object, func(p *v1alpha1.InjectionPolicy) { delete(c.byName, p.Name) })
}

func (c *ClusterPolicies) change(object any, do func(*v1alpha1.InjectionPolicy)) error {
	p, ok := object.(*v1alpha1.InjectionPolicy)
	if !ok {
		return fmt.Errorf("a %T is no policy", object)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	do(p)
	c.publish(p.ResourceVersion, p.ResourceVersion)
	return nil
}

// Replace implements cache.ReflectorStore.
func (c *ClusterPolicies) Replace(objects []any, version string) error {
	byName, changed := map[string]knownPolicy{}, ""
	for _, object := range objects {
		p, ok := object.(*v1alpha1.InjectionPolicy)
		if !ok {
			return fmt.Errorf("a %T is no policy", object)
		}
		if p.DeletionTimestamp.IsZero() {
			byName[p.Name] = c.compile(p)
		}
		if order, err := resourceversion.CompareResourceVersion(p.ResourceVersion, cmp.Or(changed, "0")); err == nil && order > 0 {
			changed = p.ResourceVersion
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.byName = byName
	c.publish(version, changed)
	return nil
}

// Resync implements cache.ReflectorStore.
func (c *ClusterPolicies) Resync() error { return nil }

// UpdateResourceVersion implements cache.ResourceVersionUpdater.
func (c *ClusterPolicies) UpdateResourceVersion(version string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if known := c.known.Load(); known != nil && known.version != version {
		c.publish(version, known.changed)
	}
}

// Policies returns the policies as they were read, by name, and the version of their
// last change. synced is false before the first list.
func (c *ClusterPolicies) Policies() (policies []*v1alpha1.InjectionPolicy, version string, synced bool) {
	known := c.known.Load()
	if known == nil {
		return nil, "", false
	}
	return known.objects, known.changed, true
}

// Known returns the policies, ready for decisions; nothing before the first list.
func (c *ClusterPolicies) Known() []inject.Policy {
	if known := c.known.Load(); known != nil {
		return known.policies
	}
	return nil
}

// Follow calls with the policies, and again at each change, until ctx ends.
func (c *ClusterPolicies) Follow(ctx context.Context, each func([]*v1alpha1.InjectionPolicy)) {
	for ctx.Err() == nil {
		known := c.known.Load()
		if known == nil {
			time.Sleep(followPause)
			continue
		}
		each(known.objects)
		select {
		case <-known.replaced:
		case <-ctx.Done():
		}
	}
}

// compile makes a policy ready. One with mistakes is in effect all the same: it
// admits the pods that it selects with a warning that names them.
func (c *ClusterPolicies) compile(p *v1alpha1.InjectionPolicy) knownPolicy {
	policy, err := inject.NewPolicy(p)
	if err != nil {
		c.Log.Info("policy with mistakes", "policy", p.Name, "mistakes", err.Error())
	}
	return knownPolicy{object: p, ready: policy}
}

// publish makes what is in byName known.
func (c *ClusterPolicies) publish(version, changed string) {
	next := &knownPolicies{version: version, changed: changed, replaced: make(chan struct{})}
	for _, name := range slices.Sorted(maps.Keys(c.byName)) {
		next.policies = append(next.policies, c.byName[name].ready)
		next.objects = append(next.objects, c.byName[name].object)
	}
	if before := c.known.Swap(next); before != nil {
		close(before.replaced)
	}
}
