package observed

import (
	"context"
	"errors"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// Objects say what is followed.
type Objects struct {
	Client cache.Getter
	// Resource in its plural: "secrets".
	Resource string
	// Name is that of the objects, in every namespace; empty: all of them.
	Name string
	// Example is an object of their type.
	Example runtime.Object
	// Denied is called when the API server does not allow it any more. What is known is forgotten then,
	// unless Keep is set.
	Denied func()
	Keep   bool
	Log    logr.Logger
}

// Watch keeps the store up to date until ctx ends. What the API server does not
// allow is asked for again from time to time.
func (s *Store[T]) Watch(ctx context.Context, what Objects) {
	selector := fields.Everything()
	if what.Name != "" {
		selector = fields.OneTermEqualSelector("metadata.name", what.Name)
	}
	calls := cache.NewListWatchFromClient(what.Client, what.Resource, metav1.NamespaceAll, selector)
	list, follow := calls.ListWithContextFunc, calls.WatchFuncWithContext
	log := what.Log.WithValues("resource", what.Resource, "name", what.Name)
	told := false
	note := func(err error) {
		switch {
		case err == nil:
			told = false
		case errors.Is(err, context.Canceled):
		case !apierrors.IsForbidden(err):
			log.V(1).Info("watch failed; trying again", "reason", err.Error())
		case what.Keep && !told:
			told = true
			what.Denied()
		case !what.Keep && s.State() != Denied:
			what.Denied()
			s.deny()
		}
	}
	calls.ListWithContextFunc = func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		found, err := list(ctx, options)
		note(err)
		return found, err
	}
	calls.WatchFuncWithContext = func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
		events, err := follow(ctx, options)
		note(err)
		return events, err
	}
	quiet := logr.Discard() // it would tell of every try
	ctx = klog.NewContext(ctx, quiet)
	backoff := wait.Backoff{Duration: 500 * time.Millisecond, Factor: 2, Jitter: 0.2, Steps: 100, Cap: 30 * time.Second}
	reflector := cache.NewReflectorWithOptions(calls, what.Example, s, cache.ReflectorOptions{Logger: &quiet, Backoff: &backoff})
	reflector.RunWithContext(ctx)
}
