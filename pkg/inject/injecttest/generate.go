// Package injecttest makes pods for tests of the core: random ones from the
// bytes of a fuzzer, and the properties that every injection must have.
package injecttest

import (
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/api/v1alpha1"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/inject"
)

// Case is a generated pod with its surroundings.
type Case struct {
	// Pod is the pod as JSON, with fields that no API knows.
	Pod       []byte
	Namespace inject.Namespace
	// Policies are valid.
	Policies []*v1alpha1.InjectionPolicy
}

// choices turns bytes into decisions; it says 0 where they have run out.
type choices struct{ data []byte }

func (c *choices) upTo(n int) int {
	if len(c.data) == 0 || n <= 1 {
		return 0
	}
	b := int(c.data[0])
	c.data = c.data[1:]
	return b % n
}

func (c *choices) of(options ...string) string { return options[c.upTo(len(options))] }

func (c *choices) yes() bool { return c.upTo(2) == 1 }

// Generate makes a case from bytes. The same bytes make the same case.
func Generate(data []byte) (Case, error) {
	c := &choices{data}
	spec := map[string]any{"x-unknown": map[string]any{"deep": []any{"kept", 1.5, nil}}, "hostUsers": false}
	volumes := c.volumes()
	if len(volumes) > 0 || c.yes() {
		spec["volumes"] = volumes
	}
	spec["containers"] = c.containers("c", 1+c.upTo(3))
	if n := c.upTo(3); n > 0 {
		spec["initContainers"] = c.containers("i", n)
	}
	metadata := map[string]any{"name": "pod", "namespace": "shop", "x-unknown": true}
	if annotations := c.annotations(); len(annotations) > 0 {
		metadata["annotations"] = annotations
	}
	if c.yes() {
		metadata["labels"] = map[string]any{"app.kubernetes.io/name": c.of("tempo", "loki", "shop", "thanos"), "app": c.of("a", "b")}
	}
	pod, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
	return Case{Pod: pod, Policies: c.policies(), Namespace: c.namespace()}, err
}

func (c *choices) annotations() map[string]any {
	annotations := map[string]any{}
	set := func(key string, values ...string) {
		if value := c.of(append([]string{""}, values...)...); value != "" {
			annotations[key] = value
		}
	}
	set(v1alpha1.Inject, "true", "true", "true", "true", "false", "yes")
	set("example.com/other", "x")
	if c.yes() {
		set(v1alpha1.Secret, "storage-ca", "Bad_Name")
		set(v1alpha1.ConfigMap, "", "storage-ca")
		set(v1alpha1.ClusterTrustBundle, "", "", "s3-ca")
		set(v1alpha1.Key, "tls.pem", "a/b")
		set(v1alpha1.MountPath, "/opt/ca/s3.pem", "/var/run/x/ca.pem", "relative", "/etc/ssl/certs")
		set(v1alpha1.Env, "none", "AWS_CA_BUNDLE, SSL_CERT_FILE", "A=B")
		set(v1alpha1.Containers, "*", "c0", "c0,i0", "missing")
		set(v1alpha1.OnRotation, "restart", "sometimes")
	}
	return annotations
}

func (c *choices) containers(prefix string, n int) []any {
	containers := make([]any, n)
	for i := range containers {
		container := map[string]any{
			"name":  fmt.Sprintf("%s%d", prefix, i),
			"image": c.of("quay.io/thanos/thanos:v1", "registry:5000/m/loki@sha256:aa", "grafana/tempo", "app:1", "istio/proxyv2", "busybox"),
			"x-new": "kept",
		}
		if c.yes() {
			container["command"] = c.words([][]any{{"/bin/thanos"}, {"sh", "-c"}, {"loki"}, {"tini", "--", "thanos"}, {"/entrypoint.sh"}})
		}
		if c.yes() {
			container["args"] = c.words([][]any{
				{"store"},
				{"query", "--endpoint=store"},
				{"sidecar", "--objstore.config", "$(X)"},
				{"-target=distributor"},
				{"-config.file=/x", "-target", "ingester"},
				{"exec thanos tools bucket web; sleep 1"},
				{"'loki' -target=querier"},
				{"loki -config.file=x", "-target=distributor"},
				{"--objstore.config=", "receive"},
				{"thanos \"store\""},
				{"echo loki"},
			})
		}
		c.mounts(container)
		c.env(container)
		containers[i] = container
	}
	return containers
}

func (c *choices) words(options [][]any) []any { return options[c.upTo(len(options))] }

func (c *choices) mounts(container map[string]any) {
	paths := []string{
		"/data", "/etc/ssl/certs", "/etc/ssl", "/var/run", "/run/x/", "/", "/etc/ssl/certs/s3-ca.crt", "/etc/ssl/certs/s3-ca.crt/x",
		"/var/run/s3-tls/s3-ca.crt", "/s3-tls", "/opt/ca",
	}
	var mounts []any
	for i := range c.upTo(4) {
		mount := map[string]any{"name": c.of("v0", "v1", "s3-tls-cert"), "mountPath": paths[(c.upTo(len(paths))+i)%len(paths)], "x-mount": 1}
		if c.yes() {
			mount["subPath"] = c.of("s3-ca.crt", "other")
		}
		mounts = append(mounts, mount)
	}
	if len(mounts) > 0 || c.yes() {
		container["volumeMounts"] = mounts
	}
}

func (c *choices) env(container map[string]any) {
	switch c.upTo(5) {
	case 1:
		container["env"] = []any{}
	case 2:
		container["env"] = []any{map[string]any{"name": "SSL_CERT_FILE", "value": c.of("/etc/ssl/certs/s3-ca.crt", "/other", "")}}
	case 3:
		reference := map[string]any{"fieldRef": map[string]any{"apiVersion": "v1", "fieldPath": "metadata.name"}}
		container["env"] = []any{map[string]any{"name": "SSL_CERT_FILE", "valueFrom": reference}, map[string]any{"name": "B", "value": "1"}}
	}
}

func (c *choices) volumes() []any {
	var volumes []any
	for i := range c.upTo(4) {
		name := []string{"v0", "v1", "s3-tls-cert", "s3-tls-cert-2"}[i]
		items := []any{map[string]any{"key": "ca.crt", "path": c.of("s3-ca.crt", "other")}}
		volumes = append(volumes, []map[string]any{
			{"name": name, "emptyDir": map[string]any{}, "x-volume": true},
			{"name": name, "secret": map[string]any{"secretName": "s3-tls-cert", "items": items}},
			{"name": name, "secret": map[string]any{"secretName": "s3-tls-cert"}},
			{"name": name, "configMap": map[string]any{"name": "storage-ca", "items": items}},
			{"name": name, "secret": map[string]any{"secretName": "s3-tls-cert", "items": items, "optional": true}},
		}[c.upTo(5)])
	}
	return volumes
}

func (c *choices) namespace() inject.Namespace {
	name := c.of("shop", "shop", "shop", "kube-system")
	namespace := inject.Namespace{Name: name, Labels: map[string]string{"kubernetes.io/metadata.name": name}, Annotations: map[string]string{}}
	if c.yes() {
		namespace.Labels["tier"] = c.of("storage", "web")
	}
	if label := c.of("", "true", "true", "false", "yes"); label != "" {
		namespace.Labels[v1alpha1.Inject] = label
	}
	if path := c.of("", "", "", "/opt/ca/ns.pem", "relative"); path != "" {
		namespace.Annotations[v1alpha1.MountPath] = path
	}
	return namespace
}

func (c *choices) policies() []*v1alpha1.InjectionPolicy {
	var policies []*v1alpha1.InjectionPolicy
	for i := range c.upTo(4) {
		policy := &v1alpha1.InjectionPolicy{}
		policy.Name = []string{"beta", "alpha", "gamma"}[i]
		policy.Spec = v1alpha1.InjectionPolicySpec{
			NamespaceSelector: c.selector("tier", "storage", "web"),
			PodSelector:       c.selector("app", "a", "b"),
			FailurePolicy:     c.of("", "Fail", "Ignore"),
		}
		policy.Spec.CA.ConfigMap = &v1alpha1.KeyRef{Name: "storage-ca"}
		switch c.upTo(4) {
		case 1:
			policy.Spec.Clients = []v1alpha1.Client{{Image: "busybox"}}
		case 2:
			policy.Spec.Clients = []v1alpha1.Client{{Image: "app", Args: []string{"loki"}}, {Image: "m/loki", Args: []string{"-target=distributor"}}}
		}
		switch c.upTo(5) {
		case 1:
			policy.Spec.Containers = []string{"c0", "elsewhere"}
		case 2:
			policy.Spec.Containers = []string{"*"}
		}
		policies = append(policies, policy)
	}
	return policies
}

func (c *choices) selector(key, one, other string) *metav1.LabelSelector {
	requirement := metav1.LabelSelectorRequirement{Key: key, Operator: metav1.LabelSelectorOperator(c.of("In", "NotIn", "Exists", "DoesNotExist"))}
	switch c.upTo(4) {
	case 1:
		return &metav1.LabelSelector{MatchLabels: map[string]string{key: c.of(one, other)}}
	case 2:
		if requirement.Operator == metav1.LabelSelectorOpIn || requirement.Operator == metav1.LabelSelectorOpNotIn {
			requirement.Values = []string{c.of(one, other)}
		}
		return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{requirement}}
	}
	return nil
}
