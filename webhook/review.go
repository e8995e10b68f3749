package webhook

import (
	"bytes"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strings"
	"sync"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/inject"
)

// maxBody bounds a review, in bytes. The API server takes objects of 3 MiB; a
// review holds one, and may be larger than what the user sent.
const maxBody = 7 << 20

// review is the narrow view of an AdmissionReview: what is read and nothing else.
type review struct {
	APIVersion string
	Kind       string
	Request    *request
}

type request struct {
	UID         types.UID
	Kind        metav1.GroupVersionKind
	SubResource string
	Namespace   string
	Operation   admissionv1.Operation
	DryRun      bool
	Object      *inject.Pod
}

// name returns the pod's name, or the prefix of the name that it will get.
func (r *request) name() string {
	if r.Object.Metadata == nil {
		return ""
	}
	if r.Object.Metadata.Name == "" {
		return r.Object.Metadata.GenerateName
	}
	return r.Object.Metadata.Name
}

// badRequestError is an HTTP answer to something that is no review.
type badRequestError struct {
	status int
	text   string
}

func (b *badRequestError) Error() string { return b.text }

func bad(status int, format string, args ...any) error {
	return &badRequestError{status, fmt.Sprintf(format, args...)}
}

// readReview reads and decodes one review. Its errors name fields, never values.
func readReview(w http.ResponseWriter, r *http.Request) (*request, error) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return nil, bad(http.StatusMethodNotAllowed, "send a review with POST")
	}
	if contentType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || contentType != "application/json" {
		return nil, bad(http.StatusBadRequest, "content type is not application/json")
	}
	body := buffers.take()
	defer buffers.giveBack(body)
	if r.ContentLength > 0 {
		body.Grow(int(min(r.ContentLength, maxKept)) + bytes.MinRead)
	}
	_, err := body.ReadFrom(http.MaxBytesReader(w, r.Body, maxBody))
	tooLarge := &http.MaxBytesError{}
	if errors.As(err, &tooLarge) {
		return nil, bad(http.StatusRequestEntityTooLarge, "review is larger than %d bytes", tooLarge.Limit)
	}
	if err != nil {
		return nil, bad(http.StatusBadRequest, "read review: the body ends early")
	}
	return decode(body.Bytes())
}

// parsers keep what reading needs from one review to the next.
//
//nolint:gochecknoglobals // a pool
var parsers = sync.Pool{New: func() any { return newParser() }}

// decode reads a review.
func decode(body []byte) (*request, error) {
	p, _ := parsers.Get().(*parser)
	defer parsers.Put(p)
	p.reset(body)
	rev := p.review()
	err := p.err
	p.reset(nil) // so that the pool keeps no body
	switch {
	case err != nil:
		return nil, bad(http.StatusBadRequest, "decode review: %v", err)
	case rev.APIVersion != "admission.k8s.io/v1" || rev.Kind != "AdmissionReview":
		return nil, bad(http.StatusBadRequest, "not an AdmissionReview of admission.k8s.io/v1")
	case rev.Request == nil:
		return nil, bad(http.StatusBadRequest, "the review has no request")
	case rev.Request.UID == "":
		return nil, bad(http.StatusBadRequest, "the request has no uid")
	}
	return rev.Request, nil
}

// foreign says why a request is none for this webhook, or nothing.
func (r *request) foreign() string {
	switch {
	case r.Kind != metav1.GroupVersionKind{Version: "v1", Kind: "Pod"} || r.SubResource != "":
		return "s3-tls-injector takes pods of v1 only; correct the rules of its webhook configuration"
	case r.Operation != admissionv1.Create:
		return "s3-tls-injector takes CREATE only; correct the rules of its webhook configuration"
	case r.Object == nil:
		return "the request has no object"
	}
	return ""
}

// respond answers a review.
func respond(uid types.UID, result *inject.Result) (*admissionv1.AdmissionResponse, error) {
	response := &admissionv1.AdmissionResponse{UID: uid, Allowed: true}
	for _, warning := range result.Warnings {
		response.Warnings = append(response.Warnings, warning.String())
	}
	if result.Decision == inject.Refused {
		return deny(uid, http.StatusForbidden, refusal(result)), nil
	}
	if len(result.Patch) == 0 {
		return response, nil
	}
	patch, err := encodePatch(result.Patch)
	if err != nil {
		return nil, fmt.Errorf("encode patch: %w", err)
	}
	patchType := admissionv1.PatchTypeJSONPatch
	response.PatchType, response.Patch = &patchType, patch
	return response, nil
}

func deny(uid types.UID, code int32, message string) *admissionv1.AdmissionResponse {
	reason := metav1.StatusReasonForbidden
	switch code {
	case http.StatusBadRequest:
		reason = metav1.StatusReasonBadRequest
	case http.StatusInternalServerError:
		reason = metav1.StatusReasonInternalError
	}
	return &admissionv1.AdmissionResponse{UID: uid, Result: &metav1.Status{
		Status: metav1.StatusFailure, Code: code, Reason: reason, Message: message,
	}}
}

// refusal joins all mistakes of a pod, as the command-line tool does.
func refusal(result *inject.Result) string {
	mistakes := make([]string, len(result.Mistakes))
	for i, m := range result.Mistakes {
		mistakes[i] = m.String()
	}
	return strings.Join(mistakes, "; ")
}
