// Package deploy tests the manifests against the typed APIs that read them.
package deploy

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/api/v1alpha1"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/controller"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/inject"
)

// decode reads every object of a file; a field that its type does not have is an error.
func decode(t *testing.T, file string) []runtime.Object {
	t.Helper()
	types := runtime.NewScheme()
	if err := errors.Join(scheme.AddToScheme(types), cmapi.AddToScheme(types), apiextensionsv1.AddToScheme(types), v1alpha1.AddToScheme(types)); err != nil {
		t.Fatal(err)
	}
	decoder := serializer.NewCodecFactory(types, serializer.EnableStrict).UniversalDeserializer()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var objects []runtime.Object
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data)))
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return objects
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(bytes.TrimSpace(document)) == 0 || !bytes.Contains(document, []byte("kind:")) {
			continue
		}
		object, _, err := decoder.Decode(document, nil, nil)
		if err != nil {
			t.Fatalf("%s: %v\n%s", file, err, document)
		}
		objects = append(objects, object)
	}
}

// only returns the one object of a type.
func only[T runtime.Object](t *testing.T, objects []runtime.Object) T {
	t.Helper()
	var found []T
	for _, o := range objects {
		if typed, ok := o.(T); ok {
			found = append(found, typed)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d objects of type %T", len(found), *new(T))
	}
	return found[0]
}

// configurationOf returns the webhook configuration of a name.
func configurationOf(t *testing.T, objects []runtime.Object, name string) *admissionregistrationv1.MutatingWebhookConfiguration {
	t.Helper()
	for _, o := range objects {
		if c, ok := o.(*admissionregistrationv1.MutatingWebhookConfiguration); ok && c.Name == name {
			return c
		}
	}
	t.Fatalf("no webhook configuration %q", name)
	return nil
}

func TestEveryManifestIsWhatItsTypeReads(t *testing.T) {
	files, err := filepath.Glob("*/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	files = slices.DeleteFunc(files, func(file string) bool { return filepath.Dir(file) == "monitoring" }) // e2e/monitoring looks into them
	for _, file := range append(files, "install.yaml", "install-without-policies.yaml") {
		if len(decode(t, file)) == 0 {
			t.Errorf("%s holds no object", file)
		}
	}
}

func TestCertificateChain(t *testing.T) {
	objects := decode(t, "install.yaml")
	issuers, certificates := map[string]*cmapi.Issuer{}, map[string]*cmapi.Certificate{}
	for _, o := range objects {
		switch o := o.(type) {
		case *cmapi.Issuer:
			issuers[o.Name] = o
		case *cmapi.Certificate:
			certificates[o.Name] = o
		}
	}
	configuration := configurationOf(t, objects, "s3-tls-injector")
	namespace, name, _ := strings.Cut(configuration.Annotations[cmapi.WantInjectAnnotation], "/")
	serving := certificates[name]
	if serving == nil || serving.Namespace != namespace {
		t.Fatalf("cainjector's annotation names no Certificate: %v", configuration.Annotations)
	}
	if serving.Spec.Duration.Duration != 90*24*time.Hour || serving.Spec.PrivateKey.RotationPolicy != cmapi.RotationPolicyAlways || serving.Spec.IsCA {
		t.Errorf("serving certificate %+v", serving.Spec)
	}
	service := only[*corev1.Service](t, objects)
	if want := service.Name + "." + service.Namespace + ".svc"; !slices.Contains(serving.Spec.DNSNames, want) {
		t.Errorf("the serving certificate is not for %s", want)
	}
	issuer := issuers[serving.Spec.IssuerRef.Name]
	if issuer == nil || issuer.Spec.CA == nil {
		t.Fatal("the serving certificate comes from no CA issuer; its CA bundle would change with every renewal")
	}
	authority := certificates["s3-tls-injector-ca"]
	if authority == nil || !authority.Spec.IsCA || authority.Spec.SecretName != issuer.Spec.CA.SecretName {
		t.Fatalf("CA certificate %+v", authority)
	}
	if root := issuers[authority.Spec.IssuerRef.Name]; root == nil || root.Spec.SelfSigned == nil {
		t.Error("the CA comes from no self-signed issuer")
	}
}

func TestEntriesReachTheServer(t *testing.T) {
	objects := decode(t, "install.yaml")
	service := only[*corev1.Service](t, objects)
	deployment := only[*appsv1.Deployment](t, objects)
	container := deployment.Spec.Template.Spec.Containers[0]
	for _, w := range configurationOf(t, objects, "s3-tls-injector").Webhooks {
		reference := w.ClientConfig.Service
		if reference == nil || reference.Name != service.Name || reference.Namespace != service.Namespace || *reference.Path != "/mutate/pods" || *reference.Port != service.Spec.Ports[0].Port {
			t.Errorf("entry %s calls %+v", w.Name, reference)
		}
		if *w.FailurePolicy != admissionregistrationv1.Fail || *w.ReinvocationPolicy != admissionregistrationv1.IfNeededReinvocationPolicy ||
			*w.MatchPolicy != admissionregistrationv1.Equivalent || *w.SideEffects != admissionregistrationv1.SideEffectClassNoneOnDryRun || *w.TimeoutSeconds != 5 {
			t.Errorf("entry %s: %+v", w.Name, w)
		}
		want := []admissionregistrationv1.OperationType{admissionregistrationv1.Create}
		if len(w.Rules) != 1 || !slices.Equal(w.Rules[0].Operations, want) || !slices.Equal(w.Rules[0].Resources, []string{"pods"}) {
			t.Errorf("entry %s is registered for %+v", w.Name, w.Rules)
		}
	}
	if !slices.ContainsFunc(container.Ports, func(p corev1.ContainerPort) bool { return p.Name == service.Spec.Ports[0].TargetPort.StrVal }) {
		t.Errorf("the Service leads to port %v, the container has %v", service.Spec.Ports[0].TargetPort, container.Ports)
	}
	for key, value := range service.Spec.Selector {
		if deployment.Spec.Template.Labels[key] != value {
			t.Errorf("the Service selects %s=%s, the pods have %v", key, value, deployment.Spec.Template.Labels)
		}
	}
	budget := only[*policyv1.PodDisruptionBudget](t, objects)
	if diff := cmp.Diff(deployment.Spec.Selector, budget.Spec.Selector); diff != "" || *deployment.Spec.Replicas < 2 {
		t.Errorf("%d replicas; selector of the budget: %s", *deployment.Spec.Replicas, diff)
	}
}

// Every right of the injector is listed here; another one must be asked for.
func TestRightsAreTheLeast(t *testing.T) {
	namespaces := rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"namespaces"}, Verbs: []string{"get", "list", "watch"}}
	events := rbacv1.PolicyRule{APIGroups: []string{"events.k8s.io"}, Resources: []string{"events"}, Verbs: []string{"create", "patch"}}
	for file, want := range map[string]map[string][]rbacv1.PolicyRule{
		"install-without-policies.yaml": {"/s3-tls-injector": {namespaces}},
		"install.yaml": {
			"/s3-tls-injector": {namespaces},
			"/s3-tls-injector-policies": {
				{APIGroups: []string{"policy.s3-tls"}, Resources: []string{"injectionpolicies"}, Verbs: []string{"get", "list", "watch"}},
				{APIGroups: []string{"policy.s3-tls"}, Resources: []string{"injectionpolicies/status"}, Verbs: []string{"patch"}},
				{
					APIGroups: []string{"admissionregistration.k8s.io"}, Resources: []string{"mutatingwebhookconfigurations"},
					ResourceNames: []string{controller.ConfigurationName}, Verbs: []string{"get", "list", "watch", "patch"},
				},
			},
			"/s3-tls-injector-cas": {
				{APIGroups: []string{""}, Resources: []string{"secrets", "configmaps"}, ResourceNames: []string{"s3-tls-cert"}, Verbs: []string{"get", "list", "watch"}},
			},
			"/s3-tls-injector-events": {events},
			"/s3-tls-injector-rotation": {
				{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"list", "watch"}},
				{APIGroups: []string{""}, Resources: []string{"pods/eviction"}, Verbs: []string{"create"}},
			},
			"s3-tls-injector/s3-tls-injector-leader": {
				{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, Verbs: []string{"create"}},
				{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, ResourceNames: []string{"s3-tls-injector"}, Verbs: []string{"get", "update"}},
				{APIGroups: []string{"", "events.k8s.io"}, Resources: events.Resources, Verbs: events.Verbs},
			},
		},
	} {
		got := map[string][]rbacv1.PolicyRule{}
		for _, o := range decode(t, file) {
			switch o := o.(type) {
			case *rbacv1.ClusterRole:
				got["/"+o.Name] = o.Rules
			case *rbacv1.Role:
				got[o.Namespace+"/"+o.Name] = o.Rules
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", file, diff)
		}
	}
}

// Without policies there is nothing of them: no CRD, no configuration, no flag.
func TestPoliciesCanBeLeftOut(t *testing.T) {
	for _, o := range decode(t, "install-without-policies.yaml") {
		switch o := o.(type) {
		case *apiextensionsv1.CustomResourceDefinition:
			t.Errorf("CRD %s", o.Name)
		case *admissionregistrationv1.MutatingWebhookConfiguration:
			if o.Name == controller.ConfigurationName {
				t.Error("the configuration for policies")
			}
		case *appsv1.Deployment:
			if slices.Contains(o.Spec.Template.Spec.Containers[0].Args, "--policies") {
				t.Error("the server is told to serve policies")
			}
		}
	}
	objects := decode(t, "install.yaml")
	if !slices.Contains(only[*appsv1.Deployment](t, objects).Spec.Template.Spec.Containers[0].Args, "--policies") {
		t.Error("install.yaml does not tell the server to serve policies")
	}
	if entries := configurationOf(t, objects, controller.ConfigurationName).Webhooks; len(entries) > 0 {
		t.Errorf("the configuration for policies is installed with %d entries", len(entries))
	}
}

// The policies among the examples are valid.
func TestExamplePolicies(t *testing.T) {
	files, err := filepath.Glob("examples/policy-*.yaml")
	if err != nil || len(files) != 3 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, file := range files {
		if _, err := inject.NewPolicy(only[*v1alpha1.InjectionPolicy](t, decode(t, file))); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

func TestServerRunsRestricted(t *testing.T) {
	spec := only[*appsv1.Deployment](t, decode(t, "install.yaml")).Spec.Template.Spec
	if !*spec.SecurityContext.RunAsNonRoot || spec.SecurityContext.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Errorf("pod: %+v", spec.SecurityContext)
	}
	for _, c := range spec.Containers {
		s := c.SecurityContext
		if *s.AllowPrivilegeEscalation || !*s.ReadOnlyRootFilesystem || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) {
			t.Errorf("container %s: %+v", c.Name, s)
		}
		if c.LivenessProbe == nil || c.ReadinessProbe == nil || c.Resources.Requests.Cpu().IsZero() || c.Resources.Requests.Memory().IsZero() {
			t.Errorf("container %s has no probes or requests", c.Name)
		}
	}
	for _, v := range spec.Volumes {
		if v.Secret == nil || len(v.Secret.Items) != 3 {
			t.Errorf("volume %+v", v)
		}
	}
}
