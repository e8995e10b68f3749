// Package v1alpha1 holds the names that users write: annotation and label keys,
// and the InjectionPolicy resource of group policy.s3-tls. It decides nothing.
package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Group, version and kind of a policy.
const (
	APIVersion = "policy.s3-tls/v1alpha1"
	PolicyKind = "InjectionPolicy"
)

// InjectionPolicy opts in the pods that it selects, in every namespace that it
// selects, and gives the settings of their injection.
type InjectionPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitzero"`

	Spec   InjectionPolicySpec   `json:"spec"`
	Status InjectionPolicyStatus `json:"status,omitzero"`
}

// InjectionPolicySpec is what the author of a policy says. A pod's annotations
// and its namespace's go before it, setting by setting.
type InjectionPolicySpec struct {
	// NamespaceSelector selects namespaces by label. Absent: every namespace that is not exempt.
	NamespaceSelector *metav1.LabelSelector `json:"namespaceSelector,omitempty"`
	// PodSelector selects pods by label. Absent: every pod.
	PodSelector *metav1.LabelSelector `json:"podSelector,omitempty"`
	// CA says where the CA is. Exactly one source.
	CA CASource `json:"ca,omitzero"`
	// MountPath is the absolute path of the CA file in the container.
	MountPath string `json:"mountPath,omitempty"`
	// Env names the variables that are set to the path; ["none"] sets none.
	Env []string `json:"env,omitempty"`
	// Containers filters containers by name. ["*"]: all. Empty: the recognised S3 clients.
	Containers []string `json:"containers,omitempty"`
	// Clients adds to the table of S3 clients for the pods that the policy selects.
	Clients []Client `json:"clients,omitempty"`
	// RequireCA refuses a pod whose CA is missing, invalid or expired.
	RequireCA bool `json:"requireCA,omitempty"`
	// FailurePolicy is what the API server does when the injector is down: Fail or Ignore.
	FailurePolicy string `json:"failurePolicy,omitempty"`
	// OnRotation is what happens to a pod when its CA changes: None or Restart.
	OnRotation string `json:"onRotation,omitempty"`
}

// CASource names the object that holds the CA, in the pod's namespace where the
// object has one.
type CASource struct {
	Secret             *KeyRef  `json:"secret,omitempty"`
	ConfigMap          *KeyRef  `json:"configMap,omitempty"`
	ClusterTrustBundle *NameRef `json:"clusterTrustBundle,omitempty"`
}

// KeyRef names one key of an object; key "ca.crt" where Key is empty.
type KeyRef struct {
	Name string `json:"name"`
	Key  string `json:"key,omitempty"`
}

// NameRef names an object.
type NameRef struct {
	Name string `json:"name"`
}

// Client is an S3 client that the built-in table does not know.
type Client struct {
	// Image is the end of an image's repository, without tag and digest:
	// "minio/mc" stands for docker.io/minio/mc:latest and registry.corp/mirror/minio/mc@sha256:….
	Image string `json:"image"`
	// Args must all be in the container's command line: a flag by its name, a word as it is.
	Args []string `json:"args,omitempty"`
}

// InjectionPolicyStatus is what the controller says of a policy.
type InjectionPolicyStatus struct {
	ObservedGeneration int64              `json:"observedGeneration,omitempty"`
	Conditions         []metav1.Condition `json:"conditions,omitempty"`
}
