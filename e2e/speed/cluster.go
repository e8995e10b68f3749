package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/s3-tls-injector/s3-tls-injector/e2e/localcluster"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/api/v1alpha1"
)

// What the cluster holds.
const (
	namespaces = 5_000
	policies   = 100
)

// withCluster measures on a real API server with many namespaces and policies, and the injector in it
// with the rights and arguments of its Deployment.
func withCluster(ctx context.Context, r *results, o *options) (err error) {
	dir, err := os.MkdirTemp("", "s3-tls-injector-speed-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	program := filepath.Join(dir, "s3-tls-injector")
	if err := build(ctx, program); err != nil {
		return err
	}
	source, err := filepath.Abs("..")
	if err != nil {
		return err
	}
	cluster, err := localcluster.Start(ctx, localcluster.Options{Assets: o.assets, Dir: dir, Source: source, Progress: progress})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cluster.Stop()) }()
	port, err := localcluster.FreePort(ctx)
	if err != nil {
		return err
	}
	if err := cluster.Install(ctx, port); err != nil {
		return err
	}
	types := runtime.NewScheme()
	if err := errors.Join(scheme.AddToScheme(types), v1alpha1.AddToScheme(types)); err != nil {
		return err
	}
	api, err := client.New(cluster.Config, client.Options{Scheme: types})
	if err != nil {
		return err
	}
	f := &fixture{Client: api, cluster: cluster, dir: dir, port: port, program: program, options: o}
	if err := f.fill(ctx); err != nil {
		return err
	}
	if err := f.measureLookUps(ctx, r); err != nil {
		return err
	}
	return f.measureCreations(ctx, r)
}

// fixture is a cluster that is filled.
type fixture struct {
	client.Client

	cluster            *localcluster.Cluster
	dir, port, program string
	options            *options
	injector           *localcluster.Injector
}

// fill makes namespaces and policies, and a CA where pods are created. The first namespaces are of a
// policy each.
func (f *fixture) fill(ctx context.Context) error {
	if err := writeCertificate(f.dir); err != nil {
		return err
	}
	ca, err := os.ReadFile(filepath.Join(f.dir, "ca.crt"))
	if err != nil {
		return err
	}
	progress(fmt.Sprintf("creating %d namespaces, each with a CA, and %d policies", namespaces, policies))
	err = parallel(namespaces, func(i int) error {
		name := fmt.Sprintf("team-%d", i)
		if err := f.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"team": strconv.Itoa(i)}}}); err != nil {
			return err
		}
		return f.Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: v1alpha1.DefaultSecret}, Data: map[string][]byte{v1alpha1.DefaultKey: ca}})
	})
	if err != nil {
		return err
	}
	return parallel(policies, func(i int) error {
		p := &v1alpha1.InjectionPolicy{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("team-%d", i)}}
		p.Spec.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"team": strconv.Itoa(i)}}
		p.Spec.CA.Secret = &v1alpha1.KeyRef{Name: v1alpha1.DefaultSecret}
		return f.Create(ctx, p)
	})
}

func parallel(n int, do func(i int) error) error {
	const workers = 16
	var group sync.WaitGroup
	errs := make([]error, workers)
	for w := range workers {
		group.Go(func() {
			for i := w; i < n && errs[w] == nil; i += workers {
				errs[w] = do(i)
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// measureLookUps measures the injector with all that it looks up beside one that looks nothing up.
func (f *fixture) measureLookUps(ctx context.Context, r *results) (err error) {
	if f.injector, err = f.cluster.StartInjector(ctx, f.program, f.port, "--log-level=info"); err != nil {
		return err
	}
	if err := f.policiesReady(ctx); err != nil {
		return err
	}
	time.Sleep(12 * time.Second) // what starts is done
	roots, err := f.servingRoots(ctx)
	if err != nil {
		return err
	}
	with := &process{name: "injector with look-ups", url: "https://127.0.0.1:" + f.port + path, pid: f.injector.Pid(), client: newClient(roots, servingName)}
	idle, err := with.memory()
	if err != nil {
		return err
	}
	alone, _, err := startServer(ctx, "injector", f.program, f.dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, alone.stop()) }()
	review, err := os.ReadFile(filepath.Join(f.options.testdata, "typical.json"))
	if err != nil {
		return err
	}
	review = bytes.ReplaceAll(review, []byte(`"namespace":"default"`), []byte(`"namespace":"team-1"`))
	turns := 3 * f.options.repetitions // the difference is small
	for turn := range turns {
		progress(fmt.Sprintf("look-ups, %d of %d", turn+1, turns))
		for _, p := range []*process{alone, with} {
			m, err := load(ctx, p, review, 1, f.options.each)
			if err != nil {
				return err
			}
			r.LookUps = append(r.LookUps, lookUpResult{p.name, m})
		}
	}
	if _, err := load(ctx, with, review, 64, f.options.each); err != nil {
		return err
	}
	loaded, err := with.memory()
	if err != nil {
		return err
	}
	r.Processes = append(r.Processes, processResult{Name: fmt.Sprintf("injector, %d namespaces and CAs, %d policies", namespaces, policies), Ready: f.injector.Took, Idle: idle, Loaded: loaded})
	return nil
}

// servingName is what the injector's certificate is for.
const servingName = "s3-tls-injector.s3-tls-injector.svc"

// servingRoots are the CA of the injector's certificate.
func (f *fixture) servingRoots(ctx context.Context) (*x509.CertPool, error) {
	secret := &corev1.Secret{}
	if err := f.Get(ctx, client.ObjectKey{Namespace: "s3-tls-injector", Name: "s3-tls-injector-tls"}, secret); err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(secret.Data["ca.crt"]) {
		return nil, errors.New("the serving certificate has no CA")
	}
	return roots, nil
}

func (f *fixture) policiesReady(ctx context.Context) error {
	for {
		list := &v1alpha1.InjectionPolicyList{}
		if err := f.List(ctx, list); err != nil {
			return err
		}
		if !slices.ContainsFunc(list.Items, func(p v1alpha1.InjectionPolicy) bool {
			return !meta.IsStatusConditionTrue(p.Status.Conditions, "Ready")
		}) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// creation is a way to create pods.
type creation struct {
	name      string
	namespace string
	optIn     bool
	// installed are the configurations of webhooks that are there.
	installed string
}

// measureCreations creates pods one by one: without a webhook, with the injector's entries for pods that
// opt in, that do not, and that a selector excludes, and with the usual handler. The ways take turns.
func (f *fixture) measureCreations(ctx context.Context, r *results) (err error) {
	configurations, err := f.configurations(ctx)
	if err != nil {
		return err
	}
	// Without --policies nobody puts back what is taken away here.
	if err := f.injector.Stop(); err != nil {
		return err
	}
	if f.injector, err = f.cluster.StartInjector(ctx, f.program, f.port, "--log-level=info", "--policies=false", "--rotation=false"); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	usual, _, err := startServer(ctx, "usual", self, f.dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, usual.stop()) }()
	configurations["usual"] = []*admissionregistrationv1.MutatingWebhookConfiguration{usualConfiguration(usual.url, usual.bundle)}
	text, err := os.ReadFile(filepath.Join(f.options.testdata, "typical.yaml"))
	if err != nil {
		return err
	}
	ways := []creation{
		{"no webhook", "team-4999", true, ""},
		{"a pod that opts in", "team-4999", true, "injector"},
		{"a pod that does not opt in", "team-4999", false, "injector"},
		{"a pod of an exempt namespace", "kube-system", true, "injector"},
		{"the usual handler", "team-4999", true, "usual"},
	}
	const rounds = 10
	took := map[string][]time.Duration{}
	for round := range rounds {
		progress(fmt.Sprintf("creations, %d of %d", round+1, rounds))
		for _, way := range ways {
			if err := f.install(ctx, configurations[way.installed]); err != nil {
				return err
			}
			pod := &corev1.Pod{}
			if err := yaml.Unmarshal(text, pod); err != nil {
				return err
			}
			if !way.optIn {
				delete(pod.Annotations, v1alpha1.Inject)
			}
			pod.Namespace = way.namespace
			all, err := f.create(ctx, pod, f.options.creations/rounds, way)
			if err != nil {
				return fmt.Errorf("%s: %w", way.name, err)
			}
			took[way.name] = append(took[way.name], all...)
		}
	}
	for _, way := range ways {
		sorted := slices.Sorted(slices.Values(took[way.name]))
		r.Creations = append(r.Creations, creationResult{Name: way.name, Creations: len(sorted), P50: sorted[len(sorted)/2], P99: sorted[len(sorted)*99/100]})
	}
	return nil
}

// create creates pods, and checks that they are injected where they should be.
func (f *fixture) create(ctx context.Context, pod *corev1.Pod, n int, way creation) ([]time.Duration, error) {
	var took []time.Duration
	for i := -5; i < n; i++ { // the first ones find connections and caches
		made := pod.DeepCopy()
		began := time.Now()
		if err := f.Create(ctx, made); err != nil {
			return nil, err
		}
		if i >= 0 {
			took = append(took, time.Since(began))
		}
		injected := slices.ContainsFunc(made.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == "s3-tls-cert" })
		if want := way.installed != "" && way.optIn && way.namespace != metav1.NamespaceSystem; injected != want {
			return nil, fmt.Errorf("the pod is injected: %t, and should be: %t", injected, want)
		}
	}
	return took, nil
}

// configurations returns those that are there, which are the injector's.
func (f *fixture) configurations(ctx context.Context) (map[string][]*admissionregistrationv1.MutatingWebhookConfiguration, error) {
	list := &admissionregistrationv1.MutatingWebhookConfigurationList{}
	if err := f.List(ctx, list); err != nil {
		return nil, err
	}
	all := map[string][]*admissionregistrationv1.MutatingWebhookConfiguration{}
	for i := range list.Items {
		c := &list.Items[i]
		c.ObjectMeta = metav1.ObjectMeta{Name: c.Name, Labels: c.Labels, Annotations: c.Annotations}
		all["injector"] = append(all["injector"], c)
	}
	return all, nil
}

// install makes configurations the only ones.
func (f *fixture) install(ctx context.Context, configurations []*admissionregistrationv1.MutatingWebhookConfiguration) error {
	if err := f.DeleteAllOf(ctx, &admissionregistrationv1.MutatingWebhookConfiguration{}); err != nil {
		return err
	}
	for _, c := range configurations {
		if err := f.Create(ctx, c.DeepCopy()); err != nil {
			return err
		}
	}
	time.Sleep(1500 * time.Millisecond) // the API server takes them in
	return nil
}

func usualConfiguration(url string, bundle []byte) *admissionregistrationv1.MutatingWebhookConfiguration {
	none := admissionregistrationv1.SideEffectClassNone
	return &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "usual"},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name: "usual.speed.example.com", SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
			ClientConfig: admissionregistrationv1.WebhookClientConfig{URL: &url, CABundle: bundle},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
			}},
		}},
	}
}
