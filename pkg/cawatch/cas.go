// Package cawatch knows the CAs of a cluster: it follows the Secrets and ConfigMaps of
// given names, in every namespace, and keeps of each what a judgement needs. It never
// reads another name, and never keeps a value.
package cawatch

import (
	"context"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/ca"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/observed"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/settings"
)

// liveWait bounds the look for an object that is not known yet.
const liveWait = time.Second

// CAs are the CAs of a cluster.
type CAs struct {
	client corev1client.CoreV1Interface
	now    func() time.Time
	log    logr.Logger

	bundles bundles
	running context.Context //nolint:containedctx // that of Start, for watches that begin later
	stopped sync.WaitGroup

	mu      sync.RWMutex
	watches map[name]*followed
	denied  map[name]bool // told already, whatever comes and goes
	changed chan struct{}
}

// name is that of the objects of one watch.
type name struct {
	kind settings.CAKind
	name string
}

// followed is a watch.
type followed struct {
	store *observed.Store[*object]
	// keys are those that somebody is known to use.
	keys []string
	// own is the key of a name that the user gave.
	own string
	// always is for names that the user gave; others come and go with policies.
	always bool
	stop   context.CancelFunc
}

// New returns CAs that follow the Secrets and ConfigMaps of these names once they are
// started. key is the one of their keys that is told of in metrics.
func New(client corev1client.CoreV1Interface, names []string, key string, now func() time.Time, log logr.Logger) *CAs {
	c := &CAs{client: client, now: now, log: log, watches: map[name]*followed{}, denied: map[name]bool{}, changed: make(chan struct{})}
	for _, n := range names {
		for _, kind := range []settings.CAKind{settings.Secret, settings.ConfigMap} {
			c.watches[name{kind, n}] = &followed{store: observed.NewStore(c.bundles.reduce), keys: []string{key}, own: key, always: true}
		}
	}
	return c
}

// Start begins to follow them, until ctx ends.
func (c *CAs) Start(ctx context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running = ctx
	for n, f := range c.watches {
		c.start(ctx, n, f)
	}
}

// Wait returns when everything has stopped that was started.
func (c *CAs) Wait() { c.stopped.Wait() }

// Also follows these too, and no others beside the names that New was given. It
// must be started.
func (c *CAs) Also(wanted []settings.CA) {
	c.mu.Lock()
	defer c.mu.Unlock()
	keys := map[name][]string{}
	for _, w := range wanted {
		if w.Kind == settings.Secret || w.Kind == settings.ConfigMap {
			n := name{w.Kind, w.Name}
			keys[n] = append(keys[n], w.Key)
		}
	}
	for n, f := range c.watches {
		if _, ok := keys[n]; ok {
			continue
		}
		if f.always {
			f.keys = []string{f.own}
			continue
		}
		f.stop()
		delete(c.watches, n)
	}
	for n, of := range keys {
		f := c.watches[n]
		if f == nil {
			f = &followed{store: observed.NewStore(c.bundles.reduce)}
			c.watches[n] = f
			c.start(c.running, n, f)
		}
		if f.always {
			of = append(of, f.own)
		}
		f.keys = slices.Compact(slices.Sorted(slices.Values(of)))
	}
}

// start begins a watch, and tells of its changes. The lock is held.
func (c *CAs) start(ctx context.Context, n name, f *followed) {
	ctx, stop := context.WithCancel(ctx) //nolint:gosec // Also calls it
	f.stop = stop
	what := observed.Objects{Client: c.client.RESTClient(), Resource: "secrets", Name: n.name, Example: runtime.Object(&corev1.Secret{}), Log: c.log}
	if n.kind == settings.ConfigMap {
		what.Resource, what.Example = "configmaps", &corev1.ConfigMap{}
	}
	what.Denied = func() { c.tellDenied(n, what.Resource) }
	c.stopped.Go(func() { f.store.Watch(ctx, what) })
	c.stopped.Go(func() {
		for {
			changed := f.store.Changed()
			c.tell()
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	})
}

// tellDenied says once of a name that it cannot be seen.
func (c *CAs) tellDenied(n name, resource string) {
	c.mu.Lock()
	told := c.denied[n]
	c.denied[n] = true
	c.mu.Unlock()
	if !told {
		c.log.Info("not allowed to watch; injecting without knowing the CA", "resource", resource, "name", n.name)
	}
}

func (c *CAs) tell() {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.changed)
	c.changed = make(chan struct{})
}

// Changed returns a channel that is closed at the next change.
func (c *CAs) Changed() <-chan struct{} {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.changed
}

// Synced tells whether all that may be read is known.
func (c *CAs) Synced() bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for _, f := range c.watches {
		if f.always && f.store.State() == observed.Starting {
			return false
		}
	}
	return true
}

// Judge returns what is known of a CA in a namespace; known is false where it may
// not be read. What seems to be missing is looked for once more: it is often created in one
// breath with the pod.
func (c *CAs) Judge(ctx context.Context, namespace string, what settings.CA) (judgement ca.Judgement, known bool) {
	f := c.follows(what)
	if f == nil || f.store.State() != observed.Synced {
		return ca.Judgement{}, false
	}
	found := c.object(namespace, what)
	if found == nil || found.bundles[what.Key] == nil {
		var err error
		if found, err = c.look(ctx, namespace, what); err != nil {
			c.log.V(1).Info("cannot look for a CA", "namespace", namespace, "name", what.Name, "reason", err.Error())
			return ca.Judgement{}, false
		}
	}
	return found.judge(namespace, what, c.now()), true
}

// look reads an object; nothing where there is none.
func (c *CAs) look(ctx context.Context, namespace string, what settings.CA) (*object, error) {
	ctx, cancel := context.WithTimeout(ctx, liveWait)
	defer cancel()
	var found any
	var err error
	if what.Kind == settings.Secret {
		found, err = c.client.Secrets(namespace).Get(ctx, what.Name, metav1.GetOptions{})
	} else {
		found, err = c.client.ConfigMaps(namespace).Get(ctx, what.Name, metav1.GetOptions{})
	}
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	reduced, _ := c.bundles.reduce(found)
	return reduced, nil
}

func (c *CAs) follows(what settings.CA) *followed {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.watches[name{what.Kind, what.Name}]
}

// judge judges one key of an object; the object may be missing.
func (o *object) judge(namespace string, what settings.CA, now time.Time) ca.Judgement {
	if o == nil {
		return ca.AbsentObject(what.Object(), namespace)
	}
	place := what.Place()
	bundle := o.bundles[what.Key]
	if bundle == nil {
		return ca.AbsentKey(place)
	}
	judgement := bundle.Judge(place, now)
	for _, key := range o.privateKeys {
		if key != what.Key {
			judgement.Problems = append(judgement.Problems, ca.Beside(key))
		}
	}
	return judgement
}

// Bundle returns the CA of a namespace, and nothing where there is none; known is false
// where it may not be read.
func (c *CAs) Bundle(namespace string, what settings.CA) (bundle *ca.Bundle, known bool) {
	f := c.follows(what)
	if f == nil || f.store.State() != observed.Synced {
		return nil, false
	}
	if found := c.object(namespace, what); found != nil {
		bundle = found.bundles[what.Key]
	}
	return bundle, true
}

// DataChanged returns when the object that holds a CA got the data that it has; zero where that
// is not known.
func (c *CAs) DataChanged(namespace string, what settings.CA) time.Time {
	if found := c.object(namespace, what); found != nil {
		return found.changed
	}
	return time.Time{}
}

// object returns what is known of the object that holds a CA; nothing where it is not known.
func (c *CAs) object(namespace string, what settings.CA) *object {
	f := c.follows(what)
	if f == nil {
		return nil
	}
	found, _ := f.store.Get(types.NamespacedName{Namespace: namespace, Name: what.Name})
	return found
}

// All returns the bundles of a CA by namespace; nothing where an object lacks the
// key. The state tells whether that is all of them; Denied, where it may not be read.
func (c *CAs) All(what settings.CA) (iter.Seq2[string, *ca.Bundle], observed.State) {
	f := c.follows(what)
	if f == nil {
		return func(func(string, *ca.Bundle) bool) {}, observed.Starting
	}
	all := f.store.All()
	return func(yield func(string, *ca.Bundle) bool) {
		for key, o := range all {
			if !yield(key.Namespace, o.bundles[what.Key]) {
				return
			}
		}
	}, f.store.State()
}
