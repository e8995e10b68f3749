package webhook

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/go-json-experiment/json/jsontext"
	"gomodules.xyz/jsonpatch/v2"
	admissionv1 "k8s.io/api/admission/v1"
)

// operation is one of a patch, encoded without jsonpatch's own encoder, which encodes each value twice.
type operation struct {
	Operation string `json:"op"`
	Path      string `json:"path"`
	Value     any    `json:"value,omitempty"`
}

// encodePatch encodes a patch.
func encodePatch(patch []jsonpatch.Operation) ([]byte, error) {
	operations := make([]operation, len(patch))
	for i, o := range patch {
		operations[i] = operation{o.Operation, o.Path, o.Value}
	}
	return json.Marshal(operations)
}

// appendReview appends an AdmissionReview with a response to a buffer: what admissionv1 says, written
// straight out.
func appendReview(b *bytes.Buffer, response *admissionv1.AdmissionResponse) error {
	out := append(b.AvailableBuffer(), `{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","response":{"uid":`...)
	out, err := jsontext.AppendQuote(out, string(response.UID))
	if err != nil {
		return fmt.Errorf("encode uid: %w", err)
	}
	out = fmt.Appendf(out, `,"allowed":%t`, response.Allowed)
	if response.Result != nil {
		result, err := json.Marshal(response.Result)
		if err != nil {
			return fmt.Errorf("encode status: %w", err)
		}
		out = append(append(out, `,"status":`...), result...)
	}
	if response.PatchType != nil {
		out = append(out, `,"patch":"`...)
		out = base64.StdEncoding.AppendEncode(out, response.Patch)
		out = fmt.Appendf(out, `","patchType":%q`, *response.PatchType)
	}
	for i, warning := range response.Warnings {
		separator := `,`
		if i == 0 {
			separator = `,"warnings":[`
		}
		if out, err = jsontext.AppendQuote(append(out, separator...), validText(warning)); err != nil {
			return fmt.Errorf("encode warning: %w", err)
		}
	}
	if len(response.Warnings) > 0 {
		out = append(out, ']')
	}
	_, err = b.Write(append(out, "}}\n"...))
	return err
}

// validText makes a text valid UTF-8, as encoding/json does.
func validText(text string) string { return string(bytes.ToValidUTF8([]byte(text), []byte("\ufffd"))) }

// write answers a review.
func (h *Handler) write(w http.ResponseWriter, response *admissionv1.AdmissionResponse) error {
	buffer := buffers.take()
	if err := appendReview(buffer, response); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	if _, err := w.Write(buffer.Bytes()); err == nil {
		buffers.giveBack(buffer)
	} else {
		h.Log.V(1).Info("the client went away before the answer") // and the buffer may still be read
	}
	return nil
}
