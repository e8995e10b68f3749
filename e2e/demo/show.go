package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/diff"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/s3-tls-injector/s3-tls-injector/e2e/localcluster"
)

// show applies the examples and shows what becomes of their pods.
func (d *demo) show(ctx context.Context) error {
	c, err := client.New(d.cluster.Config, client.Options{})
	if err != nil {
		return err
	}
	serving := &corev1.Secret{}
	if err := c.Get(ctx, client.ObjectKey{Namespace: localcluster.Name, Name: localcluster.ServingSecret}, serving); err != nil {
		return err
	}
	d.step("giving the namespaces monitoring and tracing a CA")
	for _, name := range []string{"monitoring", "tracing"} {
		if err := c.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
			return err
		}
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: "s3-tls-cert"}}
		secret.Data = map[string][]byte{"ca.crt": serving.Data["ca.crt"]} // the only CA there is here
		if err := c.Create(ctx, secret); err != nil {
			return err
		}
	}
	d.step("applying deploy/examples")
	if _, stderr, err := d.cluster.Kubectl(ctx, "", "apply", "-f", filepath.Join(d.source, "deploy", "examples")); err != nil {
		return fmt.Errorf("kubectl apply: %w: %s", err, stderr)
	}
	pods, err := workloadPods(ctx, c)
	if err != nil {
		return err
	}
	injected := 0
	for _, pod := range pods {
		changed, err := d.showPod(ctx, c, pod)
		if err != nil {
			return err
		}
		if changed {
			injected++
		}
	}
	if err := d.showRefusal(ctx, pods[0]); err != nil {
		return err
	}
	d.title("%d pods were admitted by a real API server: %d with the CA, %d untouched.", len(pods), injected, len(pods)-injected)
	return d.showCertificate(ctx)
}

// workloadPods makes the pods that the controllers of the applied workloads
// would make, in the order of namespace and name.
func workloadPods(ctx context.Context, c client.Client) ([]*corev1.Pod, error) {
	var sets appsv1.StatefulSetList
	var deployments appsv1.DeploymentList
	if err := c.List(ctx, &sets); err != nil {
		return nil, err
	}
	if err := c.List(ctx, &deployments); err != nil {
		return nil, err
	}
	var pods []*corev1.Pod
	add := func(namespace, name string, template corev1.PodTemplateSpec, claims []corev1.PersistentVolumeClaim) {
		pod := &corev1.Pod{ObjectMeta: *template.ObjectMeta.DeepCopy(), Spec: template.Spec}
		pod.Namespace, pod.Name = namespace, name
		for _, claim := range claims {
			source := &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim.Name + "-" + name}
			pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: claim.Name, VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: source}})
		}
		pods = append(pods, pod)
	}
	for _, s := range sets.Items {
		add(s.Namespace, s.Name+"-0", s.Spec.Template, s.Spec.VolumeClaimTemplates)
	}
	for _, s := range deployments.Items {
		if s.Namespace != "s3-tls-injector" {
			add(s.Namespace, s.Name+"-7d4b9c-x2x7k", s.Spec.Template, nil)
		}
	}
	slices.SortFunc(pods, func(a, b *corev1.Pod) int { return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name) })
	return pods, nil
}

// showPod creates a pod and prints the difference to the pod that the API
// server would store had it opted out.
func (d *demo) showPod(ctx context.Context, c client.Client, pod *corev1.Pod) (changed bool, err error) {
	const key = "s3-tls/inject"
	optIn, opted := pod.Annotations[key]
	without := pod.DeepCopy()
	metav1.SetMetaDataAnnotation(&without.ObjectMeta, key, "false")
	if err := c.Create(ctx, without, client.DryRunAll); err != nil {
		return false, err
	}
	delete(without.Annotations, key)
	if opted {
		without.Annotations[key] = optIn
	}
	if err := c.Create(ctx, pod); err != nil {
		return false, err
	}
	before, err := stableYAML(without)
	if err != nil {
		return false, err
	}
	after, err := stableYAML(pod)
	if err != nil {
		return false, err
	}
	name := pod.Namespace + "/" + pod.Name
	difference := string(diff.Diff("sent", before, "admitted", after))
	if difference == "" {
		d.title("%s: untouched", name)
		return false, nil
	}
	d.title("%s: injected, source %s", name, pod.Annotations["s3-tls/injected-by"])
	d.printDiff(difference)
	return true, nil
}

// stableYAML renders a pod without what differs between any two pods.
func stableYAML(pod *corev1.Pod) ([]byte, error) {
	p := pod.DeepCopy()
	p.ManagedFields, p.UID, p.ResourceVersion, p.Generation = nil, "", "", 0
	p.CreationTimestamp, p.Status = metav1.Time{}, corev1.PodStatus{}
	if len(p.Annotations) == 0 {
		p.Annotations = nil
	}
	return yaml.Marshal(p)
}

func (d *demo) printDiff(text string) {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for _, line := range lines[min(3, len(lines)):] { // without the header
		switch {
		case strings.HasPrefix(line, "+"):
			fmt.Fprintln(d.out, "  "+d.paint(green)+line+d.paint(reset))
		case strings.HasPrefix(line, "-"):
			fmt.Fprintln(d.out, "  "+d.paint(red)+line+d.paint(reset))
		case strings.HasPrefix(line, "@@"):
			fmt.Fprintln(d.out, "  "+d.paint(dim)+"…"+d.paint(reset))
		default:
			fmt.Fprintln(d.out, "  "+line)
		}
	}
}

// showRefusal creates a pod with a mistake, as a user would, and prints what
// kubectl says.
func (d *demo) showRefusal(ctx context.Context, like *corev1.Pod) error {
	bad := &corev1.Pod{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}}
	bad.Namespace, bad.Name = like.Namespace, "mistaken"
	bad.Annotations = map[string]string{"s3-tls/inject": "yes"}
	bad.Spec.Containers = []corev1.Container{{Name: "app", Image: "registry.corp/app:1"}}
	manifest, err := yaml.Marshal(bad)
	if err != nil {
		return err
	}
	_, stderr, err := d.cluster.Kubectl(ctx, string(manifest), "create", "-f", "-")
	if err == nil {
		return errors.New("a pod with s3-tls/inject: \"yes\" was not refused")
	}
	d.title("a pod with s3-tls/inject: \"yes\": refused")
	fmt.Fprintln(d.out, "  "+strings.TrimSpace(stderr))
	return nil
}

func (d *demo) showCertificate(ctx context.Context) error {
	text, stderr, err := d.cluster.Kubectl(ctx, "", "-n", "s3-tls-injector", "get", "certificates",
		"-o", "custom-columns=CERTIFICATE:.metadata.name,READY:.status.conditions[?(@.type=='Ready')].status,ISSUER:.spec.issuerRef.name,EXPIRES:.status.notAfter")
	if err != nil {
		return fmt.Errorf("kubectl get certificates: %w: %s", err, stderr)
	}
	fmt.Fprintf(d.out, "\nThe webhook's certificate, issued by cert-manager:\n%s\n", text)
	return nil
}
