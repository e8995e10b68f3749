package webhook

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/ca"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/inject"
)

// Events tells events; client-go's recorder does, and counts equal ones.
type Events interface {
	Eventf(regarding, related runtime.Object, eventType, reason, action, note string, args ...any)
}

// Reasons of events, and their action. About a CA the reason is its verdict:
// CAExpired.
const (
	eventWarning = "InjectionWarning"
	eventRefused = "InjectionRefused"
	eventAction  = "Inject"

	eventCA        = "CA"
	eventCAProblem = "CAProblem"
)

// mostNote is how long an event's note may be, in bytes.
const mostNote = 1000

// tellEvents tells the pod's controller what the creator of the pod is told, because
// a controller hides it. Who creates a pod without one reads it at once.
func (h *Handler) tellEvents(req *request, result *inject.Result) {
	owner := req.controller()
	if h.Events == nil || owner == nil || req.DryRun {
		return
	}
	regarding := &corev1.ObjectReference{
		APIVersion: owner.APIVersion, Kind: owner.Kind, Name: owner.Name, UID: owner.UID, Namespace: req.Namespace,
	}
	for _, group := range []struct {
		reason   string
		messages []inject.Message
	}{{eventRefused, result.Mistakes}, {eventWarning, result.Warnings}} {
		reasons, notes := notesOf(group.reason, group.messages)
		for i, reason := range reasons {
			h.Events.Eventf(regarding, nil, corev1.EventTypeWarning, reason, eventAction, "%s", notes[i])
		}
	}
}

// notesOf joins the messages of each reason: the recorder counts an event of the same
// reason as the same one.
func notesOf(reason string, messages []inject.Message) (reasons, notes []string) {
	texts := map[string][]string{}
	for _, m := range messages {
		of := reason
		if m.CA != "" {
			of = eventCA + string(m.CA)
		}
		if m.CA == ca.Valid { // something else is wrong with it
			of = eventCAProblem
		}
		if texts[of] == nil {
			reasons = append(reasons, of)
		}
		texts[of] = append(texts[of], m.String())
	}
	for _, of := range reasons {
		note := strings.Join(texts[of], "; ")
		if len(note) > mostNote {
			note = strings.ToValidUTF8(note[:mostNote], "") + "…"
		}
		notes = append(notes, note)
	}
	return reasons, notes
}

// controller returns the owner that created the pod, if one did.
func (r *request) controller() *metav1.OwnerReference {
	if r.Object.Metadata == nil {
		return nil
	}
	return metav1.GetControllerOfNoCopy(&metav1.ObjectMeta{OwnerReferences: r.Object.Metadata.OwnerReferences})
}
