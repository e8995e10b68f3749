package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/s3-tls-injector/s3-tls-injector/e2e/localcluster"
)

const injectorName = localcluster.Name

// The manifests lead to a webhook that the API server trusts, on two replicas
// under the restricted Pod Security level.
func TestInstall(t *testing.T) {
	kubectl(t, "-n", injectorName, "wait", "--for=condition=Ready", "--timeout=10s", "certificate/"+injectorName)

	eventually(t, time.Minute, "cainjector to fill the CA bundle of both entries", func(ctx context.Context) error {
		webhook, err := client.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(ctx, injectorName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if len(webhook.Webhooks) != 2 {
			return fmt.Errorf("there are %d entries", len(webhook.Webhooks))
		}
		for _, entry := range webhook.Webhooks {
			if !strings.Contains(string(entry.ClientConfig.CABundle), "BEGIN CERTIFICATE") {
				return fmt.Errorf("the CA bundle of %s is not filled", entry.Name)
			}
		}
		return nil
	})
	eventually(t, time.Minute, "two replicas to be ready, and no more", func(ctx context.Context) error {
		deployment, err := client.AppsV1().Deployments(injectorName).Get(ctx, injectorName, metav1.GetOptions{})
		if err == nil && (deployment.Status.ReadyReplicas != 2 || deployment.Status.Replicas != 2) {
			err = fmt.Errorf("%d of %d are ready", deployment.Status.ReadyReplicas, deployment.Status.Replicas)
		}
		return err
	})
	namespace, err := client.CoreV1().Namespaces().Get(t.Context(), injectorName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := namespace.Labels["pod-security.kubernetes.io/enforce"]; got != "restricted" {
		t.Errorf("Pod Security level of the namespace: %q, want restricted", got)
	}
}

// Applying the same manifests again changes nothing and takes no CA bundle away.
func TestInstallAgain(t *testing.T) {
	before := kubectl(t, "get", "mutatingwebhookconfiguration", injectorName, "-o", "json")
	kubectl(t, "apply", "-f", "../../deploy/install.yaml")
	after := kubectl(t, "get", "mutatingwebhookconfiguration", injectorName, "-o", "json")
	if generation(t, before) != generation(t, after) {
		t.Errorf("the webhook configuration changed:\nbefore: %s\nafter: %s", before, after)
	}
}

func generation(t *testing.T, object string) int64 {
	t.Helper()
	var parsed metav1.PartialObjectMetadata
	if err := json.Unmarshal([]byte(object), &parsed); err != nil {
		t.Fatal(err)
	}
	return parsed.Generation
}
