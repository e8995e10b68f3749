package apiserver

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/s3-tls-injector/s3-tls-injector/e2e/localcluster"
)

// In whatever order the installed objects are removed, while the injector runs,
// no entry stays or comes back that would refuse pods.
func TestUninstallInAnyOrderLeavesNoEntry(t *testing.T) {
	own := ownCluster(t)
	text, err := os.ReadFile(filepath.Join(cluster.Source, "deploy", "install.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	// The namespace would be terminating for good: nothing here removes what is in it.
	installed := slices.DeleteFunc(strings.Split(string(text), "\n---\n"), func(object string) bool {
		return !strings.Contains(object, "kind: ") || strings.Contains(object, "\nkind: Namespace\n")
	})
	reversed := slices.Clone(installed)
	slices.Reverse(reversed)
	crdFirst := slices.Clone(installed)
	slices.SortStableFunc(crdFirst, func(a, b string) int {
		return strings.Count(b, "\nkind: CustomResourceDefinition\n") - strings.Count(a, "\nkind: CustomResourceDefinition\n")
	})

	c, err := client.New(own.Config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Run("entries that another owner restored", func(t *testing.T) {
		server := installWithPolicy(t, own)
		defer func() { _ = server.Stop() }() // the cluster is stopped too
		testForeignEntries(t, own, c)
	})
	t.Run("the CRD while nobody leads", func(t *testing.T) {
		server := installWithPolicy(t, own)
		if err := server.Stop(); err != nil {
			t.Fatal(err)
		}
		if _, stderr, err := own.Kubectl(t.Context(), "", "delete", "crd", "injectionpolicies.policy.s3-tls"); err != nil {
			t.Fatalf("%v: %s", err, stderr)
		}
		next, err := own.StartInjector(t.Context(), program, server.Port, "--drain=0s")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = next.Stop() }() // the cluster is stopped too
		expectNoEntries(t, c)
	})
	for name, order := range map[string][]string{"as installed": installed, "the other way round": reversed, "the CRD first": crdFirst} {
		t.Run(name, func(t *testing.T) {
			server := installWithPolicy(t, own)
			defer func() { _ = server.Stop() }() // it may have lost its rights already
			for _, object := range order {
				if _, stderr, err := own.Kubectl(t.Context(), object, "delete", "--ignore-not-found", "--wait=false", "-f", "-"); err != nil && !strings.Contains(stderr, "no matches for kind") {
					t.Fatalf("%v: %s", err, stderr)
				}
			}
			if _, stderr, err := own.Kubectl(t.Context(), "", "-n", localcluster.Name, "delete", "lease", "--all"); err != nil { // goes with the namespace
				t.Fatalf("%v: %s", err, stderr)
			}
			time.Sleep(time.Second) // an entry that comes back needs a moment
			configurations := &admissionregistrationv1.MutatingWebhookConfigurationList{}
			if err := c.List(t.Context(), configurations); err != nil {
				t.Fatal(err)
			}
			for _, configuration := range configurations.Items {
				t.Errorf("configuration %s is still there with %d entries", configuration.Name, len(configuration.Webhooks))
			}
		})
	}
}

func policiesConfiguration(t *testing.T, c client.Client) *admissionregistrationv1.MutatingWebhookConfiguration {
	t.Helper()
	configuration := &admissionregistrationv1.MutatingWebhookConfiguration{}
	if err := c.Get(t.Context(), client.ObjectKey{Name: "s3-tls-injector-policies"}, configuration); err != nil {
		t.Fatal(err)
	}
	return configuration
}

func expectNoEntries(t *testing.T, c client.Client) {
	t.Helper()
	within(t, 30*time.Second, "the entries to go", func() error {
		if entries := policiesConfiguration(t, c).Webhooks; len(entries) > 0 {
			return fmt.Errorf("there are %d", len(entries))
		}
		return nil
	})
}

// testForeignEntries restores the configuration as a backup would, under another owner, and
// removes the policy.
func testForeignEntries(t *testing.T, own *localcluster.Cluster, c client.Client) {
	t.Helper()
	before := policiesConfiguration(t, c)
	if len(before.Webhooks) == 0 {
		t.Fatal("there is no entry")
	}
	if err := c.Delete(t.Context(), before.DeepCopy()); err != nil {
		t.Fatal(err)
	}
	before.ObjectMeta = metav1.ObjectMeta{Name: before.Name, Labels: before.Labels}
	if err := c.Create(t.Context(), before, client.FieldOwner("restore")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second) // the injector sees it
	if _, stderr, err := own.Kubectl(t.Context(), "", "delete", "injectionpolicy", "--all"); err != nil {
		t.Fatalf("%v: %s", err, stderr)
	}
	expectNoEntries(t, c)
}

// installWithPolicy installs the project and a policy for every pod, and starts
// the injector.
func installWithPolicy(t *testing.T, own *localcluster.Cluster) *localcluster.Injector {
	t.Helper()
	// The Service of an install before was changed for loopback, and cannot be applied again.
	if _, stderr, err := own.Kubectl(t.Context(), "", "-n", localcluster.Name, "delete", "service", localcluster.Name, "--ignore-not-found"); err != nil {
		t.Fatalf("%v: %s", err, stderr)
	}
	port, err := localcluster.FreePort(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := own.Install(t.Context(), port); err != nil {
		t.Fatal(err)
	}
	server, err := own.StartInjector(t.Context(), program, port, "--drain=0s")
	if err != nil {
		t.Fatal(err)
	}
	const policy = "apiVersion: policy.s3-tls/v1alpha1\nkind: InjectionPolicy\nmetadata: {name: all}\nspec: {ca: {secret: {name: s3-tls-cert}}}"
	within(t, time.Minute, "the policy to be ready", func() error {
		if _, stderr, err := own.Kubectl(t.Context(), policy, "apply", "-f", "-"); err != nil {
			return fmt.Errorf("%w: %s", err, stderr)
		}
		_, stderr, err := own.Kubectl(t.Context(), "", "wait", "--for=condition=Ready", "--timeout=5s", "injectionpolicy/all")
		if err != nil {
			return fmt.Errorf("%w: %s", err, stderr)
		}
		return nil
	})
	return server
}
