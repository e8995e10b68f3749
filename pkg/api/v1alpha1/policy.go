// Package v1alpha1 holds the names that users write: annotation and label keys,
// and the InjectionPolicy resource of group policy.s3-tls. It decides nothing.
//
// +kubebuilder:object:generate=true
// +groupName=policy.s3-tls
package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Group, version and kind of a policy.
const (
	Group      = "policy.s3-tls"
	Version    = "v1alpha1"
	APIVersion = Group + "/" + Version
	PolicyKind = "InjectionPolicy"
)

// MaxPolicyName is the length of the longest name of a policy: its webhook
// entry's name, which has a suffix, must be a DNS name.
const MaxPolicyName = 223

// MaxClients is how many clients a policy may have, and how many arguments a client: their
// expressions have to stay within the API server's budget.
const MaxClients = 8

// InjectionPolicy opts in the pods that it selects, in every namespace that it
// selects, and gives the settings of their injection. Where several select a
// pod, the first by name counts.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,path=injectionpolicies,shortName=s3tls
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="CA",type=string,JSONPath=`.status.conditions[?(@.type=="CAValid")].reason`
// +kubebuilder:printcolumn:name="Expiry",type=string,JSONPath=`.status.caNotAfter`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 223",message="the name is longer than 223 characters"
type InjectionPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitzero"`

	Spec InjectionPolicySpec `json:"spec"`
	// What the injector says of the policy.
	//
	// +optional
	Status InjectionPolicyStatus `json:"status,omitzero"`
}

// InjectionPolicyList is a list of policies.
//
// +kubebuilder:object:root=true
type InjectionPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`

	Items []InjectionPolicy `json:"items"`
}

// InjectionPolicySpec is what the author of a policy says. A pod's annotations
// and its namespace's go before it, setting by setting.
type InjectionPolicySpec struct {
	// Selects namespaces by label. Absent: every namespace that is not exempt.
	//
	// +optional
	NamespaceSelector *metav1.LabelSelector `json:"namespaceSelector,omitempty"`
	// Selects pods by label. Absent: every pod.
	//
	// +optional
	PodSelector *metav1.LabelSelector `json:"podSelector,omitempty"`
	// Where the CA is: exactly one source.
	//
	// +required
	// +kubebuilder:validation:XValidation:rule="[has(self.secret), has(self.configMap), has(self.clusterTrustBundle)].filter(named, named).size() == 1",message="name exactly one of secret, configMap and clusterTrustBundle"
	CA CASource `json:"ca,omitzero"`
	// Absolute path of the CA file in the container.
	//
	// +optional
	// +kubebuilder:default="/etc/ssl/certs/s3-ca.crt"
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self.startsWith('/')",message="is not absolute; begin it with /"
	// +kubebuilder:validation:XValidation:rule="!self.matches('//|/[.][.]?(/|$)|[:$\\\\x00\\\\n\\\\r]')",message="is not a clean path; write it without //, . and .., : and $"
	MountPath string `json:"mountPath,omitempty"`
	// Variables that are set to the path; ["none"] sets none.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:default={"SSL_CERT_FILE"}
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=253
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^[-._a-zA-Z][-._a-zA-Z0-9]*$') && self != '.' && !self.startsWith('..')",message="is no valid name of an environment variable"
	// +kubebuilder:validation:XValidation:rule="!('none' in self) || self.all(name, name == 'none')",message="\"none\" stands alone, not among names"
	Env []string `json:"env,omitempty"`
	// Names of the containers, init containers too; those that a pod lacks are
	// passed over. ["*"]: all of them. Empty: the recognised S3 clients.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:XValidation:rule="self == '*' || self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="is no valid name"
	// +kubebuilder:validation:XValidation:rule="!('*' in self) || self.all(name, name == '*')",message="\"*\" stands alone, not among names"
	Containers []string `json:"containers,omitempty"`
	// Further S3 clients, beside those that are recognised anyway.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	Clients []Client `json:"clients,omitempty"`
	// Refuses a pod whose CA is missing, invalid or expired.
	//
	// +optional
	RequireCA bool `json:"requireCA,omitempty"`
	// What the API server does with a pod when the injector is down: Fail refuses
	// it, Ignore lets it run without the CA.
	//
	// +optional
	// +kubebuilder:default=Fail
	// +kubebuilder:validation:Enum=Fail;Ignore
	FailurePolicy string `json:"failurePolicy,omitempty"`
	// What happens to a pod when its CA changes: None or Restart.
	//
	// +optional
	// +kubebuilder:default=None
	// +kubebuilder:validation:Enum=None;Restart
	OnRotation string `json:"onRotation,omitempty"`
}

// CASource names the object that holds the CA, in the pod's namespace where the
// object has one.
type CASource struct {
	// A Secret in the pod's namespace.
	//
	// +optional
	Secret *KeyRef `json:"secret,omitempty"`
	// A ConfigMap in the pod's namespace.
	//
	// +optional
	ConfigMap *KeyRef `json:"configMap,omitempty"`
	// A ClusterTrustBundle.
	//
	// +optional
	ClusterTrustBundle *NameRef `json:"clusterTrustBundle,omitempty"`
}

// KeyRef names one key of an object; key "ca.crt" where Key is empty.
type KeyRef struct {
	// Name of the object.
	//
	// +required
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="is no valid name"
	Name string `json:"name"`
	// Key in the object's data that holds the CA, as PEM.
	//
	// +optional
	// +kubebuilder:default="ca.crt"
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[-._a-zA-Z0-9]+$') && self != '.' && !self.startsWith('..')",message="is no valid key"
	Key string `json:"key,omitempty"`
}

// NameRef names an object.
type NameRef struct {
	// Name of the object.
	//
	// +required
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^(.*:)?[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="is no valid name"
	Name string `json:"name"`
}

// Client is an S3 client that the built-in table does not know.
type Client struct {
	// End of an image's repository, whole path elements, without tag and digest:
	// "minio/mc" stands for docker.io/minio/mc:latest and registry.corp/mirror/minio/mc@sha256:….
	//
	// +required
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-zA-Z0-9._-]+(/[a-zA-Z0-9._-]+)*$')",message="is no repository; write its last path elements, without tag, as in minio/mc"
	Image string `json:"image"`
	// Words that must all be in the container's command line: a flag by its name, a word as it is.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=128
	Args []string `json:"args,omitempty"`
}

// InjectionPolicyStatus is what the controller says of a policy.
type InjectionPolicyStatus struct {
	// The generation of the spec that the status is about.
	//
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// When the next certificate of the CA expires, where the injector can read it.
	//
	// +optional
	CANotAfter *metav1.Time `json:"caNotAfter,omitempty"`
	// Ready: the API server calls the injector for what the policy selects.
	// CAValid: what the injector knows of the CA.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}
