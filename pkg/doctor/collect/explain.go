package collect

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/doctor"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/inject"
)

// Object is an object of the cluster, and what a decision about its pods depends on beside it.
type Object struct {
	// Manifest is the object as JSON.
	Manifest []byte
	// Input lacks the pod and its claims.
	Input inject.Input
	// Gaps are what could not be seen.
	Gaps []doctor.Gap
}

// Object reads the object that the scope names, with the webhook's view of its namespace and policies.
func (c *Collector) Object(ctx context.Context, scope Scope) (*Object, error) {
	r := c.newRun(scope)
	group := map[string]schema.GroupVersionResource{
		"Pod":         {Version: "v1", Resource: "pods"},
		"Deployment":  {Group: "apps", Version: "v1", Resource: "deployments"},
		"StatefulSet": {Group: "apps", Version: "v1", Resource: "statefulsets"},
		"DaemonSet":   {Group: "apps", Version: "v1", Resource: "daemonsets"},
		"ReplicaSet":  {Group: "apps", Version: "v1", Resource: "replicasets"},
		"Job":         {Group: "batch", Version: "v1", Resource: "jobs"},
		"CronJob":     {Group: "batch", Version: "v1", Resource: "cronjobs"},
	}[scope.Kind]
	found, err := c.Dynamic.Resource(group).Namespace(scope.Namespace).Get(ctx, scope.Name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("%s %q in namespace %q: %w", scope.Kind, scope.Name, scope.Namespace, err)
	}
	r.lookAtInstall(ctx)
	r.readPolicies(ctx)
	o := &Object{Input: r.input(ctx, inject.Pod{}, scope.Namespace, nil)}
	found.SetManagedFields(nil)
	if o.Manifest, err = found.MarshalJSON(); err != nil {
		return nil, err
	}
	o.Gaps = r.snapshot.Gaps
	return o, nil
}
