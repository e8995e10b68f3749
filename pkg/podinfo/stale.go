package podinfo

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Carried is what is known of the CA that a pod carries.
type Carried struct {
	// SHA256 is that of the CA's file when the pod was created; empty where it was not known.
	SHA256 string
	// Started is when the first of its containers that run did so; zero where none runs.
	Started time.Time
}

// IsStale tells whether it is another CA than the one that is there now, whose file has that SHA-256
// and is the way it is since changed; known is false where that cannot be told. A pod that was
// created before its CA does not say which one it carries; it has the one that was there when it
// started.
func (c Carried) IsStale(sha256 string, changed time.Time) (stale, known bool) {
	switch {
	case sha256 == "":
		return false, false
	case c.SHA256 != "":
		return c.SHA256 != sha256, true
	case c.Started.IsZero() || changed.IsZero():
		return false, false
	}
	return changed.After(c.Started), true
}

// Started returns when the first of a pod's containers that run did so; zero where none runs.
func Started(p *corev1.Pod) time.Time {
	var first time.Time
	for i := range p.Status.ContainerStatuses {
		if running := p.Status.ContainerStatuses[i].State.Running; running != nil && (first.IsZero() || running.StartedAt.Time.Before(first)) {
			first = running.StartedAt.Time
		}
	}
	return first
}

// DataChanged returns when a manager of an object's data last changed what it manages: since then a
// Secret or ConfigMap has the data that it has. It is zero where there is no such manager.
func DataChanged(managers []metav1.ManagedFieldsEntry) time.Time {
	var last time.Time
	for _, m := range managers {
		if m.FieldsV1 == nil || m.Time == nil {
			continue
		}
		fields := m.FieldsV1.GetRawString()
		ofData := strings.Contains(fields, `"f:data"`) || strings.Contains(fields, `"f:binaryData"`)
		if ofData && m.Time.After(last) {
			last = m.Time.Time
		}
	}
	return last
}
