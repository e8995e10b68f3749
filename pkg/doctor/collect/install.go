package collect

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/api/v1alpha1"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/doctor"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/entry"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/inject"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/s3client"
)

const (
	installName   = "s3-tls-injector"
	servingSecret = "s3-tls-injector-tls"
	installed     = "app.kubernetes.io/name=" + installName
)

var (
	errNotRead     = errors.New("a ClusterTrustBundle is not read")
	errUnknownKind = errors.New("its kind is none that can be looked at")
)

//nolint:gochecknoglobals // constants
var (
	policyResource      = schema.GroupVersionResource{Group: v1alpha1.Group, Version: v1alpha1.Version, Resource: "injectionpolicies"}
	certificateResource = schema.GroupVersionResource{Group: "cert-manager.io", Version: "v1", Resource: "certificates"}
)

// lookAtInstall looks at the webhook entries, the server and its certificate.
func (r *run) lookAtInstall(ctx context.Context) {
	in := &r.snapshot.Install
	in.Namespace = v1alpha1.InjectorNamespace
	r.addExempt()
	list, err := r.Client.AdmissionregistrationV1().MutatingWebhookConfigurations().List(ctx, metav1.ListOptions{LabelSelector: installed})
	if err != nil {
		r.gap(cluster("MutatingWebhookConfiguration/"+installName), doctor.EntriesSubject, err)
	} else {
		for i := range list.Items {
			r.addEntries(&list.Items[i])
		}
	}
	if in.ServerName == "" {
		in.ServerName = fmt.Sprintf("%s.%s.svc", installName, in.Namespace)
	}
	r.addExempt(in.Namespace)
	if len(in.Entries) > 0 {
		r.lookAtServer(ctx)
	}
}

func (r *run) addEntries(configuration *admissionregistrationv1.MutatingWebhookConfiguration) {
	in := &r.snapshot.Install
	wanted := map[string]*admissionregistrationv1.MutatingWebhook{}
	for _, w := range entry.Static(admissionregistrationv1.WebhookClientConfig{}) {
		wanted[w.Name] = &w
	}
	for i := range configuration.Webhooks {
		w := &configuration.Webhooks[i]
		e := doctor.Entry{Configuration: configuration.Name, Name: w.Name, CABundle: string(w.ClientConfig.CABundle)}
		if w.FailurePolicy != nil {
			e.FailurePolicy = string(*w.FailurePolicy)
		}
		if want := wanted[w.Name]; want != nil {
			e.Changed = changed(w, want)
		}
		if service := w.ClientConfig.Service; service != nil {
			in.Namespace, in.ServerName = service.Namespace, fmt.Sprintf("%s.%s.svc", service.Name, service.Namespace)
		}
		in.Entries = append(in.Entries, e)
	}
}

// changed names the fields of an entry that are not as they are installed. More exempt namespaces are
// as good.
func changed(is, want *admissionregistrationv1.MutatingWebhook) []string {
	var fields []string
	differs := func(field string, is, want any) {
		if !reflect.DeepEqual(is, want) {
			fields = append(fields, field)
		}
	}
	differs("failurePolicy", is.FailurePolicy, want.FailurePolicy)
	differs("matchConditions", is.MatchConditions, want.MatchConditions)
	differs("rules", is.Rules, want.Rules)
	if !sameSelector(is.NamespaceSelector, want.NamespaceSelector) {
		fields = append(fields, "namespaceSelector")
	}
	if is.ObjectSelector != nil && len(is.ObjectSelector.MatchLabels)+len(is.ObjectSelector.MatchExpressions) > 0 {
		fields = append(fields, "objectSelector")
	}
	return fields
}

func sameSelector(is, want *metav1.LabelSelector) bool {
	if is == nil || !maps.Equal(is.MatchLabels, want.MatchLabels) || len(is.MatchExpressions) != len(want.MatchExpressions) {
		return false
	}
	for i, e := range want.MatchExpressions {
		found := is.MatchExpressions[i]
		if found.Key != e.Key || found.Operator != e.Operator {
			return false
		}
		for _, value := range e.Values {
			if !slices.Contains(found.Values, value) && value != v1alpha1.InjectorNamespace {
				return false
			}
		}
	}
	return true
}

func (r *run) lookAtServer(ctx context.Context) {
	in := &r.snapshot.Install
	at := func(kind, name string) doctor.Target {
		return doctor.Target{Namespace: in.Namespace, Object: kind + "/" + name}
	}
	deployments, err := r.Client.AppsV1().Deployments(in.Namespace).List(ctx, metav1.ListOptions{LabelSelector: installed})
	switch {
	case err != nil:
		r.gap(at("Deployment", installName), "its replicas", err)
	case len(deployments.Items) > 0:
		d := &deployments.Items[0]
		in.Deployment = &doctor.Deployment{Name: d.Name, Replicas: 1, Ready: d.Status.ReadyReplicas}
		if d.Spec.Replicas != nil {
			in.Deployment.Replicas = *d.Spec.Replicas
		}
		for _, c := range d.Spec.Template.Spec.Containers {
			in.Deployment.Image = c.Image
			r.addExempt(exemptOf(c.Command, c.Args)...)
		}
	}
	if r.scope.PodsOnly {
		return
	}
	secret, err := r.Client.CoreV1().Secrets(in.Namespace).Get(ctx, servingSecret, metav1.GetOptions{})
	if err == nil {
		in.Serving = certificatesOf(secret.Data[corev1.TLSCertKey])
	} else if !apierrors.IsNotFound(err) {
		r.gap(at("Secret", servingSecret), "the injector's certificate", err)
	}
	certificate, err := r.Dynamic.Resource(certificateResource).Namespace(in.Namespace).Get(ctx, installName, metav1.GetOptions{})
	if err != nil {
		if !apierrors.IsNotFound(err) {
			r.gap(at("Certificate", installName), "its conditions", err)
		}
		return
	}
	in.Certificate = &doctor.Certificate{Name: installName}
	status, message := condition(certificate, "Ready")
	in.Certificate.Ready, in.Certificate.Message = status == "True", message
}

// exemptOf reads the namespaces that the server's arguments exempt.
func exemptOf(command, args []string) []string {
	var names []string
	const flag = "exempt-namespace"
	words := slices.Concat(command, args)
	for i, arg := range words {
		if name, ok := strings.CutPrefix(arg, "--"+flag+"="); ok {
			names = append(names, name)
		} else if arg == "--"+flag && i+1 < len(words) {
			names = append(names, words[i+1])
		}
	}
	return names
}

// condition reads a condition of an object.
func condition(object *unstructured.Unstructured, kind string) (status, message string) {
	conditions, _, _ := unstructured.NestedSlice(object.Object, "status", "conditions")
	for _, c := range conditions {
		if c, ok := c.(map[string]any); ok && c["type"] == kind {
			status, _ = c["status"].(string)
			message, _ = c["message"].(string)
		}
	}
	return status, message
}

// readPolicies reads the policies; there are none where the CRD is not installed.
func (r *run) readPolicies(ctx context.Context) {
	list, err := r.Dynamic.Resource(policyResource).List(ctx, metav1.ListOptions{})
	if err != nil {
		if !apierrors.IsNotFound(err) {
			r.gap(cluster("InjectionPolicies"), doctor.PoliciesSubject, err)
		}
		return
	}
	for i := range list.Items {
		object := &list.Items[i]
		ready, message := condition(object, "Ready")
		r.snapshot.Policies = append(r.snapshot.Policies, doctor.Policy{Name: object.GetName(), Ready: ready, ReadyMessage: message})
		var policy v1alpha1.InjectionPolicy
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &policy); err != nil {
			continue // the CRD took it, and the controller tells of it
		}
		if made, err := inject.NewPolicy(&policy); err == nil {
			r.policies = append(r.policies, made)
		}
	}
}

// tryOut creates a pod that opts in, as a dry run. Its settings are its own, so that those of its
// namespace and the policies do not matter.
func (r *run) tryOut(ctx context.Context) {
	namespace := r.scope.Namespace
	if namespace == "" || slices.Contains(r.exempt, namespace) {
		namespace = metav1.NamespaceDefault
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "s3-tls-doctor-", Namespace: namespace, Annotations: map[string]string{
			v1alpha1.Inject: "true", v1alpha1.Secret: "s3-tls-doctor", v1alpha1.Key: v1alpha1.DefaultKey, v1alpha1.Containers: v1alpha1.All,
			v1alpha1.MountPath: v1alpha1.DefaultMountPath, v1alpha1.Env: v1alpha1.None, v1alpha1.OnRotation: "none",
		}},
		Spec: restricted(corev1.Container{Name: "trial", Image: "s3-tls-injector/trial"}),
	}
	in := r.input(ctx, inject.View(pod), namespace, nil)
	in.CA = nil // its CA is not there
	if inject.Decide(in).Decision != inject.Injected {
		return // the namespace or a policy is such that nothing is injected
	}
	created, err := r.Client.CoreV1().Pods(namespace).Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	trial := &doctor.Trial{Namespace: namespace}
	switch {
	case err == nil:
		trial.Injected = created.Annotations[v1alpha1.InjectedBy] != ""
	case strings.Contains(err.Error(), "failed calling webhook") && strings.Contains(err.Error(), "inject.s3-tls"):
		trial.Error = reason(err)
	case strings.Contains(err.Error(), "inject.s3-tls"):
		trial.Injected = true // it was called, and refuses
	default:
		r.gap(cluster("MutatingWebhookConfiguration/"+installName), "whether the API server reaches the injector", err)
		return
	}
	r.snapshot.Install.Trial = trial
}

// restricted is the spec of a pod with one container that every Pod Security Standard admits.
func restricted(c corev1.Container) corev1.PodSpec {
	// So that a quota or a range of limits admits it.
	c.Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("32Mi")}
	c.Resources.Limits = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("64Mi")}
	c.SecurityContext = &corev1.SecurityContext{
		AllowPrivilegeEscalation: new(false), ReadOnlyRootFilesystem: new(true), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}
	return corev1.PodSpec{
		RestartPolicy: corev1.RestartPolicyNever, AutomountServiceAccountToken: new(false), Containers: []corev1.Container{c},
		NodeSelector: map[string]string{corev1.LabelOSStable: "linux"},
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot: new(true), RunAsUser: new(int64(65532)), RunAsGroup: new(int64(65532)),
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
	}
}

// expandsBraces tells whether a flag of a container has its configuration expanded.
func expandsBraces(c *inject.Container) bool {
	return s3client.HasFlag(s3client.Container{Name: c.Name, Image: c.Image, Command: c.Command, Args: c.Args}, func(name string) bool {
		return name == "config.expand-env"
	})
}

// hasS3Flag tells whether flags of a container configure its storage too.
func hasS3Flag(c *inject.Container) bool {
	return s3client.HasFlag(s3client.Container{Name: c.Name, Image: c.Image, Command: c.Command, Args: c.Args}, func(name string) bool {
		return strings.Contains(name, "s3.")
	})
}
