// Package webhook answers admission reviews of pods: it decodes a review, looks
// up what the decision depends on, asks the core and answers. All logging and
// metrics of a request's life are here. It writes nothing of a pod to the log
// but its name.
package webhook

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/go-logr/logr"
	admissionv1 "k8s.io/api/admission/v1"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/ca"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/inject"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/settings"
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

// CAs tells of the CA that a pod would be given.
type CAs interface {
	// Judge returns what is known of a CA in a namespace; nothing where it may not be read.
	Judge(ctx context.Context, namespace string, what settings.CA) (ca.Judgement, bool)
}

// Handler serves admission reviews.
type Handler struct {
	// Namespaces is nil in standalone mode: only a pod's own annotations decide.
	Namespaces Namespaces
	// Policies is nil where policies are not served.
	Policies Policies
	// CAs is nil where none may be read.
	CAs CAs
	// Events is nil where none are told.
	Events Events
	// ExemptNamespaces are never injected.
	ExemptNamespaces []string
	// Metrics count what is decided.
	Metrics *Metrics
	Log     logr.Logger
	// Closing tells whether clients should connect anew, to another replica.
	Closing func() bool
}

// Register serves reviews at both paths.
func (h *Handler) Register(register func(path string, handler http.Handler)) {
	register(Path, h)
	if h.Policies != nil {
		register(policiesPattern, h)
	}
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
	response, outcome, err = h.answer(r.Context(), req, r.PathValue(versionValue))
	if err != nil {
		// No answer about the pod: the entry's failurePolicy decides.
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	if err := h.write(w, response); err != nil {
		h.Log.Error(err, "answer review")
		outcome.decision, outcome.reason = decisionError, reasonEncode
		http.Error(w, "internal error", http.StatusInternalServerError)
	}
}

// answer decides about one request. The error means that it cannot, for a pod
// that an entry of the policies' version sent.
func (h *Handler) answer(ctx context.Context, req *request, version string) (*admissionv1.AdmissionResponse, outcome, error) {
	if text := req.foreign(); text != "" {
		return deny(req.UID, http.StatusBadRequest, text), outcome{decision: decisionError, reason: reasonForeign}, nil
	}
	log := h.Log.WithValues(keyNamespace, req.Namespace, keyName, req.name())
	in := inject.Input{Pod: *req.Object, ExemptNamespaces: h.ExemptNamespaces}
	if failed := h.lookUp(ctx, &in, req.Namespace, version); failed != nil {
		log.Error(failed.cause, failed.text)
		counted := outcome{decision: decisionError, reason: failed.reason}
		if version != "" {
			return nil, counted, failed
		}
		return deny(req.UID, http.StatusInternalServerError, failed.Error()), counted, nil
	}
	result := inject.Decide(in)
	h.tellEvents(req, &result)
	response, err := respond(req.UID, &result)
	if err != nil {
		log.Error(err, "answer review")
		return deny(req.UID, http.StatusInternalServerError, "internal error"), outcome{decision: decisionError, reason: reasonEncode}, nil
	}
	logDecision(log, req, &result)
	return response, outcome{decision: string(result.Decision), reason: string(result.Reason), source: result.Source}, nil
}

// lookupError is why a review cannot be decided about now.
type lookupError struct {
	reason string // the metric's
	text   string // for the user
	cause  error
}

func (e *lookupError) Error() string { return e.text }

// lookUp completes the input.
func (h *Handler) lookUp(ctx context.Context, in *inject.Input, namespace, version string) *lookupError {
	var err error
	in.Namespace = inject.Namespace{Name: namespace}
	if h.Namespaces != nil {
		if in.Namespace, err = h.Namespaces.Namespace(ctx, namespace); err != nil {
			return &lookupError{reasonNamespace, fmt.Sprintf("s3-tls-injector cannot read namespace %q; try again", namespace), err}
		}
	}
	if h.Policies != nil {
		if in.Policies, err = h.Policies.At(ctx, version); err != nil {
			return &lookupError{reasonPolicies, "s3-tls-injector does not know the policies yet; try again", err}
		}
	}
	if h.CAs != nil {
		in.CA = func(what settings.CA) (ca.Judgement, bool) { return h.CAs.Judge(ctx, namespace, what) }
	}
	return nil
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
