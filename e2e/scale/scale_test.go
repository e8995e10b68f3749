// Package scale measures what many policies cost, on a real API server that holds
// as many objects as a large cluster. Its benchmarks print measures and assert none.
//
//	make bench-policies
package scale

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/s3-tls-injector/s3-tls-injector/e2e/localcluster"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/api/v1alpha1"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/controller"
)

const (
	namespaces = 5_000
	pods       = 20_000
	policies   = 200
	creations  = 400 // for each measure of a creation
	rounds     = 3
)

// fixture is a running cluster with the injector.
type fixture struct {
	client   client.Client
	injector *localcluster.Injector
}

func start(b *testing.B) *fixture {
	b.Helper()
	assets := os.Getenv("S3_TLS_ASSETS")
	if assets == "" {
		b.Fatal("S3_TLS_ASSETS is not set; run make bench-policies")
	}
	source, err := filepath.Abs("../..")
	check(b, err)
	program := filepath.Join(b.TempDir(), "s3-tls-injector")
	build := exec.CommandContext(b.Context(), "go", "build", "-o", program, "./cmd/s3-tls-injector")
	build.Dir = source
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	c, err := localcluster.Start(b.Context(), localcluster.Options{
		Assets: assets, Dir: b.TempDir(), Source: source, Progress: func(step string) { fmt.Println("#", step) },
	})
	check(b, err)
	b.Cleanup(func() { check(b, c.Stop()) })
	port, err := localcluster.FreePort(b.Context())
	check(b, err)
	check(b, c.Install(b.Context(), port))
	injector, err := c.StartInjector(b.Context(), program, port, "--log-level=info")
	check(b, err)
	types := runtime.NewScheme()
	check(b, scheme.AddToScheme(types))
	check(b, v1alpha1.AddToScheme(types))
	api, err := client.New(c.Config, client.Options{Scheme: types})
	check(b, err)
	return &fixture{client: api, injector: injector}
}

func check(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// fill makes the namespaces, with a team and a CA each, and the pods.
func (f *fixture) fill(b *testing.B) {
	b.Helper()
	fmt.Printf("# creating %d namespaces with a Secret each, and %d pods\n", namespaces, pods)
	parallel(b, namespaces, func(ctx context.Context, i int) error {
		name := fmt.Sprintf("team-%d", i)
		labels := map[string]string{"team": strconv.Itoa(i)}
		if err := f.client.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}); err != nil {
			return err
		}
		return f.client.Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: "s3-tls-cert"}, Data: map[string][]byte{"ca.crt": make([]byte, 1200)},
		})
	})
	parallel(b, pods, func(ctx context.Context, i int) error {
		return f.client.Create(ctx, newPod(fmt.Sprintf("team-%d", i*namespaces/pods), "quay.io/thanos/thanos:v0.39.2", "store"))
	})
}

func parallel(b *testing.B, n int, do func(context.Context, int) error) {
	b.Helper()
	const workers = 16
	var group sync.WaitGroup
	work := make(chan int)
	errs := make(chan error, workers)
	for range workers {
		group.Go(func() {
			for i := range work {
				if err := do(b.Context(), i); err != nil {
					select {
					case errs <- err:
					default:
					}
				}
			}
		})
	}
	for i := range n {
		work <- i
	}
	close(work)
	group.Wait()
	select {
	case err := <-errs:
		b.Fatal(err)
	default:
	}
}

// newPod is a pod with the arguments that a Thanos store has.
func newPod(namespace, image, command string) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: "pod-", Labels: map[string]string{"app": "web"}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "main", Image: image, Args: []string{command, "--config-file=/etc/thanos/objstore.yml"},
		}}},
	}
	for i := range 20 {
		pod.Spec.Containers[0].Args = append(pod.Spec.Containers[0].Args, fmt.Sprintf("--store.flag-%d=/var/thanos/%d", i, i))
	}
	return pod
}

// policySets are 200 policies each: alike but for the team, which share an entry;
// each with a team and an application of its own, which cannot; and each with an S3 client of
// its own for the whole cluster, whose entries the selectors exclude no pod from.
var policySets = map[string]func(i int) v1alpha1.InjectionPolicySpec{
	"one-per-team": func(i int) v1alpha1.InjectionPolicySpec {
		return v1alpha1.InjectionPolicySpec{NamespaceSelector: label("team", i)}
	},
	"one-per-team-and-app": func(i int) v1alpha1.InjectionPolicySpec {
		return v1alpha1.InjectionPolicySpec{NamespaceSelector: label("team", i), PodSelector: label("app", i)}
	},
	"client-of-its-own": func(i int) v1alpha1.InjectionPolicySpec {
		return v1alpha1.InjectionPolicySpec{Clients: []v1alpha1.Client{{Image: fmt.Sprintf("example/backup-%d", i), Args: []string{"upload"}}}}
	},
}

func label(key string, i int) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{key: strconv.Itoa(i)}}
}

// apply applies policies of a set at once and returns how long it took until all of
// them were in effect.
func (f *fixture) apply(b *testing.B, set string, first, last int) time.Duration {
	b.Helper()
	started := time.Now()
	for i := first; i <= last; i++ {
		p := &v1alpha1.InjectionPolicy{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("p%03d", i)}, Spec: policySets[set](i)}
		p.Spec.CA.Secret = &v1alpha1.KeyRef{Name: "s3-tls-cert"}
		check(b, f.client.Create(b.Context(), p))
	}
	for i := first; i <= last; {
		p := &v1alpha1.InjectionPolicy{}
		check(b, f.client.Get(b.Context(), client.ObjectKey{Name: fmt.Sprintf("p%03d", i)}, p))
		if meta.IsStatusConditionTrue(p.Status.Conditions, "Ready") {
			i++
			continue
		}
		if time.Since(started) > 2*time.Minute {
			b.Fatalf("policy %s is not ready: %+v", p.Name, p.Status)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return time.Since(started)
}

// remove removes every policy and waits for the entries to go.
func (f *fixture) remove(b *testing.B) {
	b.Helper()
	check(b, f.client.DeleteAllOf(b.Context(), &v1alpha1.InjectionPolicy{}))
	for f.configuration(b).Webhooks != nil {
		time.Sleep(50 * time.Millisecond)
	}
	time.Sleep(time.Second) // the API server takes the configuration in
}

func (f *fixture) configuration(b *testing.B) *admissionregistrationv1.MutatingWebhookConfiguration {
	b.Helper()
	found := &admissionregistrationv1.MutatingWebhookConfiguration{}
	check(b, f.client.Get(b.Context(), client.ObjectKey{Name: controller.ConfigurationName}, found))
	return found
}

// create creates pods that no policy selects and returns the median time of one. They
// are in one namespace: the API server looks much up for the first pod of another.
func (f *fixture) create(b *testing.B) time.Duration {
	b.Helper()
	took := make([]time.Duration, creations)
	for i := range took {
		pod := newPod(fmt.Sprintf("team-%d", namespaces-1), "registry.example.com/shop/web:v3", "serve")
		started := time.Now()
		check(b, f.client.Create(b.Context(), pod))
		took[i] = time.Since(started)
	}
	return median(took)
}

func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}

// resident returns the memory of the server, in MiB.
func (f *fixture) resident(b *testing.B) float64 {
	b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", f.injector.Pid()))
	check(b, err)
	for line := range strings.Lines(string(status)) {
		if value, found := strings.CutPrefix(line, "VmRSS:"); found {
			kib, err := strconv.ParseFloat(strings.Fields(value)[0], 64)
			check(b, err)
			return kib / 1024
		}
	}
	b.Fatal("no VmRSS")
	return 0
}

// cpu returns the processor time that the server has used.
func (f *fixture) cpu(b *testing.B) time.Duration {
	b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", f.injector.Pid()))
	check(b, err)
	_, after, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(after)
	ticks := 0
	for _, field := range fields[11:13] { // utime and stime of proc(5)
		n, err := strconv.Atoi(field)
		check(b, err)
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// BenchmarkPolicies reports, for each set of 200 policies: the entries and the
// bytes of their configuration, the time from apply to effect of the first, of most
// at once and of the last one, memory and processor time of the server at rest, and the time of a
// pod's creation that no policy is about, against the same without policies, in turns.
func BenchmarkPolicies(b *testing.B) {
	f := start(b)
	f.fill(b)
	time.Sleep(5 * time.Second)
	b.Logf("without policies: %.0f MiB resident", f.resident(b))
	for _, set := range []string{"one-per-team", "one-per-team-and-app", "client-of-its-own"} {
		b.Run(set, func(b *testing.B) {
			fmt.Println("# measuring", policies, "policies,", set)
			var without, with []time.Duration
			for round := range rounds {
				without = append(without, f.create(b))
				first := f.apply(b, set, 0, 0)
				most := f.apply(b, set, 1, policies-2)
				last := f.apply(b, set, policies-1, policies-1)
				if round == 0 {
					b.ReportMetric(float64(first.Milliseconds()), "ms-first-apply")
					b.ReportMetric(float64(last.Milliseconds()), "ms-last-apply")
					b.ReportMetric(most.Seconds(), "s-198-at-once")
					configuration := f.configuration(b)
					b.ReportMetric(float64(len(configuration.Webhooks)), "entries")
					b.ReportMetric(float64(configuration.Size())/1024, "KiB-configuration")
					time.Sleep(5 * time.Second)
					before := f.cpu(b)
					time.Sleep(20 * time.Second)
					b.ReportMetric(float64((f.cpu(b)-before).Milliseconds())/20, "cpu-ms/s-at-rest")
					b.ReportMetric(f.resident(b), "MiB-resident")
				}
				time.Sleep(2 * time.Second)
				with = append(with, f.create(b))
				f.remove(b)
			}
			b.ReportMetric(float64(median(with))/float64(median(without)), "x-creation")
			b.ReportMetric(float64(median(without).Microseconds()), "µs-without")
			b.ReportMetric(0, "ns/op") // the loop is not what is measured
		})
	}
}
