// Package doctor finds out why S3 storage is not trusted. A snapshot holds what was seen of a
// cluster; each check is a pure function of it. A snapshot holds no credential and no private key,
// so that it can be sent to somebody else.
package doctor

import (
	"slices"
	"strings"
	"time"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/ca"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/endpoint"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/inject"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/settings"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/storageconfig"
)

// SnapshotVersion is that of the format; a snapshot of another one is not read.
const SnapshotVersion = 1

// Snapshot is what was seen of a cluster.
type Snapshot struct {
	Version int       `json:"version"`
	Taken   time.Time `json:"taken"`
	// Server is the version of the API server.
	Server string `json:"server,omitempty"`

	Install    Install               `json:"install"`
	Policies   []Policy              `json:"policies,omitempty"`
	Namespaces map[string]*Namespace `json:"namespaces,omitempty"`
	Workloads  []*Workload           `json:"workloads,omitempty"`
	Pods       []*Pod                `json:"pods,omitempty"`
	CAs        []*CA                 `json:"cas,omitempty"`
	Probes     []endpoint.Probe      `json:"probes,omitempty"`
	// Gaps are what could not be seen.
	Gaps []Gap `json:"gaps,omitempty"`
}

// Gap is something that could not be seen, and why.
type Gap struct {
	Target Target `json:"target"`
	What   string `json:"what"`
	Why    string `json:"why"`
	Fix    string `json:"fix,omitempty"`
}

// Install is the injector itself.
type Install struct {
	// Namespace is where its server runs.
	Namespace string  `json:"namespace"`
	Entries   []Entry `json:"entries,omitempty"`
	// Serving is the server's certificate, as PEM, without its key; empty where it is not known.
	Serving string `json:"serving,omitempty"`
	// ServerName is the name by which the API server calls it.
	ServerName  string       `json:"serverName,omitempty"`
	Certificate *Certificate `json:"certificate,omitempty"`
	Deployment  *Deployment  `json:"deployment,omitempty"`
	// Trial is what came of creating a pod that opts in, as a dry run.
	Trial *Trial `json:"trial,omitempty"`
}

// Entry is a webhook entry of the injector.
type Entry struct {
	Configuration string `json:"configuration"`
	Name          string `json:"name"`
	CABundle      string `json:"caBundle,omitempty"`
	// Changed names the fields that differ from what is installed.
	Changed []string `json:"changed,omitempty"`
	// FailurePolicy is Fail or Ignore.
	FailurePolicy string `json:"failurePolicy"`
}

// Certificate is cert-manager's Certificate of the server.
type Certificate struct {
	Name    string `json:"name"`
	Ready   bool   `json:"ready"`
	Message string `json:"message,omitempty"`
}

// Deployment is the server's.
type Deployment struct {
	Name     string `json:"name"`
	Image    string `json:"image"`
	Replicas int32  `json:"replicas"`
	Ready    int32  `json:"ready"`
}

// Trial is what came of a dry run.
type Trial struct {
	Namespace string `json:"namespace"`
	Injected  bool   `json:"injected"`
	// Error is what the API server said where it refused.
	Error string `json:"error,omitempty"`
}

// Policy is an InjectionPolicy's status.
type Policy struct {
	Name string `json:"name"`
	// Ready is the condition's status: True, False, Unknown, or empty.
	Ready        string `json:"ready"`
	ReadyMessage string `json:"readyMessage,omitempty"`
}

// Namespace is what concerns us of a namespace.
type Namespace struct {
	Labels map[string]string `json:"labels,omitempty"`
	// Annotations are those that look like ours.
	Annotations map[string]string `json:"annotations,omitempty"`
	Exempt      bool              `json:"exempt,omitempty"`
}

// Workload creates pods.
type Workload struct {
	Namespace string `json:"namespace"`
	// Name is its kind and name: StatefulSet/thanos-store.
	Name string `json:"name"`
	// Annotations are those of the object that look like ours; TemplateAnnotations, of its pods.
	Annotations         map[string]string `json:"annotations,omitempty"`
	TemplateAnnotations map[string]string `json:"templateAnnotations,omitempty"`
	TemplateLabels      map[string]string `json:"templateLabels,omitempty"`
	// Decision is about the pods that it would create now.
	Decision Decision `json:"decision"`
	// CreateFailed is what the API server said when it last refused a pod of it; empty where it did not.
	CreateFailed   string    `json:"createFailed,omitempty"`
	CreateFailedAt time.Time `json:"createFailedAt,omitzero"`
	// Owner is what made the workload and would put it right again: Prometheus/k8s.
	Owner string `json:"owner,omitempty"`
}

// Decision is what the injector would do with a pod that is created now.
type Decision struct {
	Decision inject.Decision `json:"decision"`
	Reason   inject.Reason   `json:"reason,omitempty"`
	Source   string          `json:"source,omitempty"`
	Rule     string          `json:"rule,omitempty"`
	Mistakes []string        `json:"mistakes,omitempty"`
	Warnings []string        `json:"warnings,omitempty"`
	// Adds tells whether something is added to the spec.
	Adds bool `json:"adds,omitempty"`
	// Clients are the names of the S3 clients that are recognised, whoever opted in.
	Clients []string `json:"clients,omitempty"`
}

// Pod is what concerns us of a pod.
type Pod struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Workload is what it belongs to: StatefulSet/thanos-store, or Pod/name.
	Workload string    `json:"workload"`
	Created  time.Time `json:"created"`
	Ready    bool      `json:"ready"`
	// Labels and Annotations are those that look like ours.
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
	// InjectedBy and SHA256 are what the injector wrote on it.
	InjectedBy string   `json:"injectedBy,omitempty"`
	SHA256     string   `json:"sha256,omitempty"`
	Decision   Decision `json:"decision"`
	// Named: the user asks about it.
	Named bool `json:"named,omitempty"`
	// CA is what it carries, or would carry; nil where it would carry none. Wanted is what the
	// settings say now.
	CA     *settings.CA `json:"ca,omitempty"`
	Wanted *settings.CA `json:"wanted,omitempty"`
	// Stale: it carries another CA than the one that is there now. CAKnown: that is known.
	Stale   bool     `json:"stale,omitempty"`
	CAKnown bool     `json:"caKnown,omitempty"`
	Clients []Client `json:"clients,omitempty"`
}

// Client is an S3 client in a pod.
type Client struct {
	Container string `json:"container"`
	// File is where the CA is mounted; empty where it is not.
	File string `json:"file,omitempty"`
	// Trusts are the CAs that lie where the client reads roots from; TrustsUnseen: there is one whose
	// source is not known.
	Trusts       []settings.CA `json:"trusts,omitempty"`
	TrustsUnseen bool          `json:"trustsUnseen,omitempty"`
	// Configs are the configuration files that its flags name.
	Configs []Config `json:"configs,omitempty"`
	// LogErrors counts what its log says of TLS, by the kind of error.
	LogErrors map[string]int `json:"logErrors,omitempty"`
}

// Config is a configuration file of a client.
type Config struct {
	// Place is where it is from: Secret objstore[objstore.yml].
	Place string `json:"place"`
	// Missing says that it is not there; Invalid, that it cannot be read as YAML.
	Missing bool `json:"missing,omitempty"`
	Invalid bool `json:"invalid,omitempty"`
	// Complete: no flag configures the storage too.
	Complete bool      `json:"complete,omitempty"`
	Storages []Storage `json:"storages,omitempty"`
}

// Storage is a storage that a configuration names.
type Storage struct {
	storageconfig.Storage

	// CAFileMounted: its CA file lies under a mount of the container.
	CAFileMounted bool `json:"caFileMounted,omitempty"`
	// CA is what that file is from; nil where it is not known.
	CA *settings.CA `json:"ca,omitempty"`
}

// CA is a CA in a namespace.
type CA struct {
	Namespace string      `json:"namespace"`
	CA        settings.CA `json:"ca"`
	// Judgement is pkg/ca's. It holds no data of the file but names of certificates.
	Judgement ca.Judgement `json:"judgement"`
	// Certificates are those of the file that clients would trust, as PEM.
	Certificates string `json:"certificates,omitempty"`
	// Elsewhere are other namespaces that hold it, where it is missing here.
	Elsewhere []string `json:"elsewhere,omitempty"`
}

// CAOf returns the CA of a pod; nil where it is not known.
func (s *Snapshot) CAOf(p *Pod) *CA {
	if p.CA == nil {
		return nil
	}
	return s.findCA(p.Namespace, *p.CA)
}

// findCA returns a CA of a namespace; nil where it is not known.
func (s *Snapshot) findCA(namespace string, of settings.CA) *CA {
	for _, c := range s.CAs {
		if c.Namespace == namespace && c.CA == of {
			return c
		}
	}
	return nil
}

// Target is what a finding is about.
type Target struct {
	// Namespace is empty for what concerns the whole cluster.
	Namespace string `json:"namespace,omitempty"`
	// Object is a kind and a name: StatefulSet/thanos-store.
	Object string `json:"object"`
	// Pods are the names of the pods of the object that are concerned.
	Pods []string `json:"pods,omitempty"`
}

func (p *Pod) target() Target {
	return Target{Namespace: p.Namespace, Object: p.Workload, Pods: []string{p.Name}}
}

func (w *Workload) target() Target { return Target{Namespace: w.Namespace, Object: w.Name} }

// String names the target: shop/thanos-store-0, or shop/StatefulSet/thanos-store.
func (t Target) String() string {
	name := t.Object
	switch len(t.Pods) {
	case 0:
	case 1:
		name = t.Pods[0]
	default:
		pods := slices.Sorted(slices.Values(t.Pods))
		name = pods[0] + ", " + pods[1]
		if more := len(pods) - 2; more == 1 {
			name += ", " + pods[2]
		} else if more > 1 {
			name += ", … (" + strings.ToLower(t.Object) + ")"
		}
	}
	if t.Namespace == "" {
		return name
	}
	return t.Namespace + "/" + name
}
