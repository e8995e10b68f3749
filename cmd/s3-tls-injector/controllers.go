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
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/api/v1alpha1"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/controller"
	"github.com/s3-tls-injector/s3-tls-injector/webhook"
)

// leaderElectionID names the Lease of the controllers.
const leaderElectionID = "s3-tls-injector"

// controllersPause is how long a replica waits before it stands for election
// again.
const controllersPause = 2 * time.Second

// runControllers runs the controllers while this replica is the leader. One that
// loses the lease goes on serving reviews, and stands for election again.
func (s *server) runControllers(ctx context.Context, config *rest.Config, namespaces webhook.Namespaces) error {
	for {
		if manager, err := s.newManager(config, namespaces); err != nil {
			s.log.Error(err, "start controllers")
		} else if err := manager.Start(ctx); ctx.Err() == nil {
			s.log.Error(err, "controllers stopped; starting them again")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(controllersPause):
		}
	}
}

func (s *server) newManager(config *rest.Config, namespaces webhook.Namespaces) (ctrl.Manager, error) {
	types := runtime.NewScheme()
	if err := errors.Join(scheme.AddToScheme(types), v1alpha1.AddToScheme(types)); err != nil {
		return nil, err
	}
	manager, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:                        types,
		Logger:                        s.log.WithName("controllers"),
		LeaderElection:                true,
		LeaderElectionID:              leaderElectionID,
		LeaderElectionNamespace:       s.options.podNamespace,
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
	policies := &controller.Policies{
		Source: s.policies.Load(),
		Client: manager.GetClient(),
		Events: manager.GetEventRecorder("s3-tls-injector"),
		Service: admissionregistrationv1.ServiceReference{
			Namespace: s.options.podNamespace, Name: s.options.serviceName,
			Port: new(s.options.servicePort), Path: new(string(webhook.PoliciesPath)),
		},
		ServingCA: func() ([]byte, error) { return fs.ReadFile(os.DirFS(s.options.certDir), "ca.crt") },
		CAs: &controller.CAs{
			Reader: manager.GetAPIReader(), Names: s.options.caNames, Namespace: namespaces.Namespace,
			ExemptNamespaces: s.exemptNamespaces(), Now: time.Now, //nolint:forbidigo // the clock that is passed
		},
		ExemptNamespaces: distinct(s.exemptNamespaces()),
	}
	return manager, policies.SetupWithManager(manager)
}

// distinct returns the names in order, each once.
func distinct(names []string) []string { return slices.Compact(slices.Sorted(slices.Values(names))) }
