package apiserver

import (
	"encoding/json"
	"encoding/pem"
	"net/http"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func certificatePEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// lateAnswer answers a review of a pod with one container by adding a second.
func lateAnswer(r *http.Request, _ bool) string {
	var review admissionv1.AdmissionReview
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
		return err.Error()
	}
	var pod corev1.Pod
	if err := json.Unmarshal(review.Request.Object.Raw, &pod); err != nil {
		return err.Error()
	}
	review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}
	if len(pod.Spec.Containers) == 1 {
		review.Response.PatchType = new(admissionv1.PatchTypeJSONPatch)
		review.Response.Patch = []byte(`[{"op":"add","path":"/spec/containers/-","value":{"name":"late","image":"` + thanosImage + `","args":["tools","bucket","web"]}}]`)
	}
	review.Request = nil
	answer, err := json.Marshal(review)
	if err != nil {
		return err.Error()
	}
	return string(answer)
}

// podFromTemplate makes the pod that a controller would make of a template.
func podFromTemplate(t *testing.T, template string, name types.NamespacedName) *corev1.Pod {
	t.Helper()
	var parsed corev1.PodTemplateSpec
	if err := json.Unmarshal([]byte(template), &parsed); err != nil {
		t.Fatal(err)
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name, Labels: parsed.Labels, Annotations: parsed.Annotations},
		Spec:       parsed.Spec,
	}
}
