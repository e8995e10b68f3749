package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	ctrlwebhook "sigs.k8s.io/controller-runtime/pkg/webhook"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/api/v1alpha1"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/cawatch"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/controller"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/rotation"
	"github.com/s3-tls-injector/s3-tls-injector/webhook"
)

// A certificate that is not there yet is looked for at each certificatePoll, and
// told of at every tellEvery-th.
const (
	certificatePoll = time.Second
	tellEvery       = 30
)

// server is the process: the webhook, its health and metrics, and what it
// follows of the cluster. It works the same with and without a Kubernetes API.
type server struct {
	options *options
	log     logr.Logger

	// What readiness means.
	draining    atomic.Bool
	certificate atomic.Bool
	namespaces  atomic.Pointer[webhook.ClusterNamespaces]
	policies    atomic.Pointer[webhook.ClusterPolicies]
	cas         atomic.Pointer[cawatch.CAs]
	listening   atomic.Pointer[healthz.Checker]
}

func newServer(o *options, log logr.Logger) *server {
	ctrl.SetLogger(log)
	klog.SetLogger(log)
	slog.SetDefault(slog.New(logr.ToSlogHandler(log))) // net/http logs failed TLS handshakes there
	return &server{options: o, log: log}
}

// run serves until ctx ends; then it turns unready, goes on serving for the
// drain time and finishes what is in flight.
func (s *server) run(ctx context.Context) error {
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	group, serving := errgroup.WithContext(serving)
	lookups, err := s.startLookups(serving, group)
	if err != nil {
		stop()
		return errors.Join(err, group.Wait())
	}
	group.Go(func() error { return s.drain(ctx, serving, stop) })
	group.Go(func() error { return s.tuneCollector(serving) })
	group.Go(func() error { return s.serveHealth(serving) })
	group.Go(func() error { return s.serveMetrics(serving) })
	group.Go(func() error { return s.serveReviews(serving, lookups) })
	return group.Wait()
}

func (s *server) drain(ctx, serving context.Context, stop func()) error {
	select {
	case <-ctx.Done():
	case <-serving.Done():
		return nil
	}
	s.draining.Store(true)
	if s.listening.Load() != nil { // else nobody is served yet
		s.log.Info("draining", "for", s.options.drain.String())
		select {
		case <-time.After(s.options.drain):
		case <-serving.Done():
		}
	}
	stop()
	return nil
}

// serveReviews waits for the certificate, then serves the webhook.
func (s *server) serveReviews(ctx context.Context, lookups lookups) error {
	watcher, err := s.waitForCertificate(ctx)
	if err != nil {
		return ignoreCanceled(err)
	}
	server := ctrlwebhook.NewServer(ctrlwebhook.Options{
		Host: s.options.host,
		Port: s.options.port,
		TLSOpts: []func(*tls.Config){func(c *tls.Config) {
			c.MinVersion = tls.VersionTLS13
			c.NextProtos = []string{"h2", "http/1.1"}
			c.GetCertificate = watcher.GetCertificate
		}},
	})
	reviews := &webhook.Handler{
		Namespaces:       lookups.namespaces,
		Policies:         lookups.policies,
		CAs:              lookups.cas,
		Events:           lookups.events,
		ExemptNamespaces: s.exemptNamespaces(),
		Metrics:          webhook.NewMetrics(metrics.Registry),
		Log:              s.log.WithName("webhook"),
		Closing:          s.draining.Load,
	}
	reviews.Register(server.Register)
	listening := server.StartedChecker()
	s.listening.Store(&listening)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return watcher.Start(ctx) })
	group.Go(func() error { return server.Start(ctx) })
	return group.Wait()
}

func (s *server) exemptNamespaces() []string {
	return slices.Concat(v1alpha1.ExemptNamespaces(), s.options.exemptNamespaces)
}

// waitForCertificate returns once the folder holds a certificate and its key.
func (s *server) waitForCertificate(ctx context.Context) (*certwatcher.CertWatcher, error) {
	certificate, key := filepath.Join(s.options.certDir, "tls.crt"), filepath.Join(s.options.certDir, "tls.key")
	for try := 0; ; try++ {
		watcher, err := certwatcher.New(certificate, key)
		if err == nil {
			s.certificate.Store(true)
			return watcher, nil
		}
		if try%tellEvery == 0 {
			s.log.Info("waiting for the certificate", "reason", err.Error())
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(certificatePoll):
		}
	}
}

// lookups are what a decision depends on beside the pod. None is there in
// standalone mode.
type lookups struct {
	namespaces webhook.Namespaces
	policies   webhook.Policies
	cas        webhook.CAs
	events     webhook.Events
}

// startLookups starts the caches, and the controllers beside them.
func (s *server) startLookups(ctx context.Context, group *errgroup.Group) (lookups, error) {
	if s.options.standalone {
		return lookups{}, nil
	}
	config, err := restConfig(s.options.kubeconfig)
	if err != nil {
		return lookups{}, fmt.Errorf("%w; --standalone works without a Kubernetes API", err)
	}
	config.QPS = -1 // the API server's priority and fairness suffices
	compact := rest.CopyConfig(config)
	compact.ContentType, compact.AcceptContentTypes = runtime.ContentTypeProtobuf, runtime.ContentTypeProtobuf+","+runtime.ContentTypeJSON
	clientset, err := kubernetes.NewForConfig(compact)
	if err != nil {
		return lookups{}, fmt.Errorf("connect to the Kubernetes API: %w", err)
	}
	namespaces := s.startNamespaces(ctx, group, clientset)
	found := lookups{namespaces: namespaces}
	var policies *webhook.ClusterPolicies
	if s.options.policies {
		policies = &webhook.ClusterPolicies{Log: s.log.WithName("policies")}
		s.policies.Store(policies)
		found.policies = policies
		group.Go(func() error { return policies.Watch(ctx, config) })
	}
	cas := s.startCAs(ctx, group, clientset, policies)
	found.cas = cas
	if s.options.events {
		found.events = startEvents(ctx, group, clientset)
	}
	collector := &cawatch.Collector{CAs: cas, ExemptNamespaces: s.exemptNamespaces()}
	c := &controllers{server: s, config: config, clientset: clientset, namespaces: namespaces, policies: policies, cas: cas}
	if s.options.rotation {
		c.rotation = rotation.NewMetrics(metrics.Registry)
		collector.Used = c.rotation.Used
	}
	metrics.Registry.MustRegister(collector)
	if s.options.policies || s.options.rotation {
		group.Go(func() error { return c.run(ctx) })
	}
	return found, nil
}

// startCAs follows the CAs of --ca-name and of the policies.
func (s *server) startCAs(ctx context.Context, group *errgroup.Group, clientset kubernetes.Interface, policies *webhook.ClusterPolicies) *cawatch.CAs {
	names := slices.DeleteFunc(slices.Clone(s.options.caNames), func(name string) bool { return name == "" })
	cas := cawatch.New(clientset.CoreV1(), names, v1alpha1.DefaultKey, time.Now, s.log.WithName("cas")) //nolint:forbidigo // the clock that is passed
	s.cas.Store(cas)
	cas.Start(ctx)
	group.Go(func() error {
		<-ctx.Done() // until then, policies begin more
		cas.Wait()
		return nil
	})
	if policies != nil {
		group.Go(func() error {
			policies.Follow(ctx, func(found []*v1alpha1.InjectionPolicy) { cas.Also(controller.SourcesOf(found)) })
			return nil
		})
	}
	return cas
}

// startEvents returns what tells events, and counts equal ones.
func startEvents(ctx context.Context, group *errgroup.Group, clientset kubernetes.Interface) webhook.Events {
	broadcaster := events.NewBroadcaster(&events.EventSinkImpl{Interface: clientset.EventsV1()})
	group.Go(func() error {
		defer broadcaster.Shutdown()
		if err := broadcaster.StartRecordingToSinkWithContext(ctx); err != nil {
			return err
		}
		<-ctx.Done()
		return nil
	})
	return broadcaster.NewRecorder(scheme.Scheme, "s3-tls-injector")
}

// startNamespaces follows the namespaces.
func (s *server) startNamespaces(ctx context.Context, group *errgroup.Group, clientset kubernetes.Interface) webhook.Namespaces {
	namespaces := webhook.NewClusterNamespaces(clientset.CoreV1())
	s.namespaces.Store(namespaces)
	group.Go(func() error {
		namespaces.Follow(ctx, s.log.WithName("namespaces"))
		return nil
	})
	return namespaces
}

func restConfig(kubeconfig string) (*rest.Config, error) {
	if kubeconfig == "" {
		return rest.InClusterConfig()
	}
	return clientcmd.BuildConfigFromFlags("", kubeconfig)
}

func (s *server) serveHealth(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { answerHealth(w, nil) })
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, r *http.Request) { answerHealth(w, s.ready(r)) })
	return s.serveHTTP(ctx, s.options.healthAddress, mux)
}

func answerHealth(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	_, _ = w.Write([]byte("ok")) // a probe that has gone away needs no answer
}

// ready means: certificate loaded, caches synced, port open, and not on the way out.
func (s *server) ready(r *http.Request) error {
	listening := s.listening.Load()
	switch {
	case s.draining.Load():
		return errors.New("draining")
	case !s.certificate.Load():
		return errors.New("no certificate yet")
	}
	if err := s.filled(); err != nil {
		return err
	}
	if listening == nil {
		return errors.New("the port is not open yet")
	}
	return (*listening)(r)
}

// filled tells which cache is not filled yet.
func (s *server) filled() error {
	namespaces := s.namespaces.Load()
	switch {
	case s.options.standalone:
		return nil
	case namespaces == nil || !namespaces.Synced():
		return errors.New("the namespaces are not listed yet")
	case s.options.policies && !s.policies.Load().Synced():
		return errors.New("the policies are not listed yet")
	case !s.cas.Load().Synced():
		return errors.New("the CAs are not listed yet")
	}
	return nil
}

func (s *server) serveHTTP(ctx context.Context, address string, handler http.Handler) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	closed := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer closed()
	if err := srv.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (s *server) serveMetrics(ctx context.Context) error {
	server, err := metricsserver.NewServer(metricsserver.Options{BindAddress: s.options.metricsAddress}, nil, nil)
	if err != nil || server == nil {
		return err
	}
	return ignoreCanceled(server.Start(ctx))
}

func ignoreCanceled(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
