package v1alpha1

// Prefix begins every annotation and label key of the project. A pod annotation
// that begins with it and is none of the keys below is a mistake.
const Prefix = "s3-tls/"

// Inject is the opt-in: a pod annotation, and a label of a Namespace. Its
// values are "true" and "false".
const Inject = Prefix + "inject"

// The settings: annotations of a pod, and of a Namespace as the defaults of
// its pods.
const (
	Secret             = Prefix + "secret"
	ConfigMap          = Prefix + "configmap"
	ClusterTrustBundle = Prefix + "cluster-trust-bundle"
	Key                = Prefix + "key"
	MountPath          = Prefix + "mount-path"
	Env                = Prefix + "env"
	Containers         = Prefix + "containers"
	OnRotation         = Prefix + "on-rotation"
)

// The annotations that the injector writes on a pod.
const (
	// InjectedBy holds the source of the decision: "pod", "namespace" or "policy/<name>".
	InjectedBy = Prefix + "injected-by"
	// CASHA256 holds the hex SHA-256 of the CA file's bytes.
	CASHA256 = Prefix + "ca-sha256"
)

// The built-in values of the settings.
const (
	DefaultSecret    = "s3-tls-cert"
	DefaultKey       = "ca.crt"
	DefaultMountPath = "/etc/ssl/certs/s3-ca.crt"
	DefaultEnv       = "SSL_CERT_FILE"
)

// Words with a meaning of their own in list settings.
const (
	// None sets no variable (Env).
	None = "none"
	// All means every container, init containers included (Containers).
	All = "*"
)

// InjectorNamespace is where the manifests in deploy install the injector.
// Its pods are never injected.
const InjectorNamespace = "s3-tls-injector"

// ExemptNamespaces returns the namespaces whose pods are never injected,
// whatever they or a policy say.
func ExemptNamespaces() []string {
	return []string{"kube-system", "kube-public", "kube-node-lease", InjectorNamespace}
}
