// Package webhook answers admission reviews of pods: it decodes a review, looks
// up what the decision depends on, asks the core and answers. All logging and
// metrics of a request's life are here. It writes nothing of a pod to the log
// but its name.
package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/go-logr/logr"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/inject"
)

// Path is where the handler is served.
const Path = "/mutate/pods"

// Keys of the log.
const (
	keyNamespace  = "namespace"
	keyName       = "name"
	keySource     = "source"
	keyReason     = "reason"
	keyContainers = "containers"
	keyDryRun     = "dryRun"
	keyStatus     = "status"
)

// Namespaces looks up the namespace of a pod.
type Namespaces interface {
	// Namespace returns name, labels and annotations; an error where it cannot tell.
	Namespace(ctx context.Context, name string) (inject.Namespace, error)
}

// Handler serves admission reviews.
type Handler struct {
	// Namespaces is nil in standalone mode: only a pod's own annotations decide.
	Namespaces Namespaces
	// Policies returns those in effect; nil where there are none.
	Policies func() []inject.Policy
	// ExemptNamespaces are never injected.
	ExemptNamespaces []string
	// Metrics count what is decided.
	Metrics *Metrics
	Log     logr.Logger
	// Closing tells whether clients should connect anew, to another replica.
	Closing func() bool
}

// ServeHTTP answers one review. Whatever goes wrong becomes an answer that says
// so; nothing that goes wrong lets a pod through that was to be injected.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now() //nolint:forbidigo // measures a duration, decides nothing
	outcome := outcome{decision: decisionError, reason: reasonBadReview}
	defer func() {
		if p := recover(); p != nil {
			outcome.decision, outcome.reason = decisionError, reasonPanic
			h.Log.Error(fmt.Errorf("%T", p), "panic in a review")
			http.Error(w, "internal error", http.StatusInternalServerError)
		}
		h.Metrics.observe(outcome, time.Since(start))
	}()
	if h.Closing != nil && h.Closing() {
		w.Header().Set("Connection", "close")
	}
	req, err := readReview(w, r)
	if wrong := (*badRequestError)(nil); errors.As(err, &wrong) {
		h.Log.Info("bad review", keyStatus, wrong.status)
		http.Error(w, wrong.text, wrong.status)
		return
	}
	var response *admissionv1.AdmissionResponse
	response, outcome = h.answer(r.Context(), req)
	h.write(w, response)
}

// answer decides about one request.
func (h *Handler) answer(ctx context.Context, req *request) (*admissionv1.AdmissionResponse, outcome) {
	if text := req.foreign(); text != "" {
		return deny(req.UID, http.StatusBadRequest, text), outcome{decision: decisionError, reason: reasonForeign}
	}
	log := h.Log.WithValues(keyNamespace, req.Namespace, keyName, req.name())
	namespace := inject.Namespace{Name: req.Namespace}
	if h.Namespaces != nil {
		var err error
		if namespace, err = h.Namespaces.Namespace(ctx, req.Namespace); err != nil {
			log.Error(err, "look up namespace")
			text := fmt.Sprintf("s3-tls-injector cannot read namespace %q; try again", req.Namespace)
			return deny(req.UID, http.StatusInternalServerError, text), outcome{decision: decisionError, reason: reasonLookup}
		}
	}
	result := inject.Decide(inject.Input{
		Pod: *req.Object, Namespace: namespace, Policies: h.policies(), ExemptNamespaces: h.ExemptNamespaces,
	})
	response, err := respond(req.UID, &result)
	if err != nil {
		log.Error(err, "answer review")
		return deny(req.UID, http.StatusInternalServerError, "internal error"), outcome{decision: decisionError, reason: reasonEncode}
	}
	logDecision(log, req, &result)
	return response, outcome{decision: string(result.Decision), reason: string(result.Reason), source: result.Source}
}

func (h *Handler) policies() []inject.Policy {
	if h.Policies == nil {
		return nil
	}
	return h.Policies()
}

func logDecision(log logr.Logger, req *request, result *inject.Result) {
	switch result.Decision {
	case inject.Injected:
		log.Info("injected", keySource, result.Source, keyContainers, result.Containers, keyDryRun, req.DryRun)
	case inject.Refused:
		log.Info("refused", keySource, result.Source, keyReason, result.Reason, keyDryRun, req.DryRun)
	case inject.Skipped:
		log.V(1).Info("skipped", keySource, result.Source, keyReason, result.Reason, keyDryRun, req.DryRun)
	}
}

func (h *Handler) write(w http.ResponseWriter, response *admissionv1.AdmissionResponse) {
	w.Header().Set("Content-Type", "application/json")
	err := json.NewEncoder(w).Encode(admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"},
		Response: response,
	})
	if err != nil {
		h.Log.V(1).Info("the client went away before the answer")
	}
}
