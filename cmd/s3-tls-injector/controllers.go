package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/api/v1alpha1"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/cawatch"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/controller"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/rotation"
	"github.com/s3-tls-injector/s3-tls-injector/webhook"
)

// leaderElectionID names the Lease of the controllers.
const leaderElectionID = "s3-tls-injector"

// controllersPause is how long a replica waits before it stands for election
// again.
const controllersPause = 2 * time.Second

// rotationSettle is how long a CA must be unchanged before pods are replaced for it.
const rotationSettle = 10 * time.Second

// controllers run in one replica, the leader.
type controllers struct {
	*server

	config     *rest.Config
	clientset  kubernetes.Interface
	namespaces webhook.Namespaces
	policies   *webhook.ClusterPolicies // nil where they are not served
	cas        *cawatch.CAs
	rotation   *rotation.Metrics // nil where pods are not replaced
}

// run runs the controllers while this replica is the leader. One that loses the
// lease goes on serving reviews, and stands for election again.
func (c *controllers) run(ctx context.Context) error {
	for {
		if manager, err := c.newManager(); err != nil {
			c.log.Error(err, "start controllers")
		} else if err := manager.Start(ctx); ctx.Err() == nil {
			c.log.Error(err, "controllers stopped; starting them again")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(controllersPause):
		}
	}
}

func (c *controllers) newManager() (ctrl.Manager, error) {
	types := runtime.NewScheme()
	if err := errors.Join(scheme.AddToScheme(types), v1alpha1.AddToScheme(types)); err != nil {
		return nil, err
	}
	manager, err := ctrl.NewManager(c.config, ctrl.Options{
		Scheme:                        types,
		Logger:                        c.log.WithName("controllers"),
		LeaderElection:                true,
		LeaderElectionID:              leaderElectionID,
		LeaderElectionNamespace:       c.options.podNamespace,
		LeaderElectionReleaseOnCancel: true,
		Metrics:                       metricsserver.Options{BindAddress: "0"}, // the server's own serves them
		HealthProbeBindAddress:        "0",
		Controller:                    ctrlconfig.Controller{SkipNameValidation: new(true)}, // they are made again
		Cache: cache.Options{
			DefaultTransform: cache.TransformStripManagedFields(),
			ByObject: map[client.Object]cache.ByObject{
				&admissionregistrationv1.MutatingWebhookConfiguration{}: {
					Field: fields.OneTermEqualSelector("metadata.name", controller.ConfigurationName),
				},
			},
		},
	})
	if err != nil {
		return nil, err
	}
	if c.policies != nil {
		err = c.policiesController(manager).SetupWithManager(manager)
	}
	if c.rotation != nil {
		err = errors.Join(err, manager.Add(c.rotationController(manager)))
	}
	return manager, err
}

func (c *controllers) policiesController(manager ctrl.Manager) *controller.Policies {
	return &controller.Policies{
		Source: c.policies,
		Client: manager.GetClient(),
		Events: manager.GetEventRecorder("s3-tls-injector"),
		Service: admissionregistrationv1.ServiceReference{
			Namespace: c.options.podNamespace, Name: c.options.serviceName,
			Port: new(c.options.servicePort), Path: new(string(webhook.PoliciesPath)),
		},
		ServingCA: func() ([]byte, error) { return fs.ReadFile(os.DirFS(c.options.certDir), "ca.crt") },
		CAs: &controller.CAs{
			Bundles: c.cas, Namespace: c.namespaces.Namespace,
			ExemptNamespaces: c.exemptNamespaces(), Now: time.Now, //nolint:forbidigo // the clock that is passed
		},
		ExemptNamespaces: distinct(c.exemptNamespaces()),
	}
}

func (c *controllers) rotationController(manager ctrl.Manager) *rotation.Controller {
	r := &rotation.Controller{
		Client:    c.clientset,
		CAs:       c.cas,
		Namespace: c.namespaces.Namespace,
		Events:    manager.GetEventRecorder("s3-tls-injector"),
		Limits:    rotation.Limits{Pods: c.options.rotationPods, Ready: c.options.rotationReady, Settle: rotationSettle},
		Metrics:   c.rotation,
		Now:       time.Now, //nolint:forbidigo // the clock that is passed
		Log:       c.log.WithName("rotation"),
	}
	if c.policies != nil {
		r.Policies = c.policies.Known
	}
	return r
}

// distinct returns the names in order, each once.
func distinct(names []string) []string { return slices.Compact(slices.Sorted(slices.Values(names))) }
