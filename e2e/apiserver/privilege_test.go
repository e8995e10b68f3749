package apiserver

import (
	"strings"
	"testing"

	"github.com/s3-tls-injector/s3-tls-injector/e2e/localcluster"
)

// The injector may do what it needs, and nothing beside it.
func TestLeastPrivilege(t *testing.T) {
	account := "system:serviceaccount:" + localcluster.Name + ":" + localcluster.Name
	for question, allowed := range map[string]bool{
		"list namespaces":                                              true,
		"watch injectionpolicies":                                      true,
		"patch injectionpolicies --subresource=status":                 true,
		"patch mutatingwebhookconfigurations/s3-tls-injector-policies": true,
		"update leases/s3-tls-injector -n " + localcluster.Name:        true,
		"create events.events.k8s.io -n default":                       true,

		"create events.events.k8s.io -n kube-system": true,

		"get secrets/s3-tls-cert -n default": true,
		"list secrets/s3-tls-cert":           true,
		"watch configmaps/s3-tls-cert":       true,
		"watch pods":                         true,
		"create pods --subresource=eviction": true,

		"get secrets/other":                    false,
		"list secrets/other":                   false,
		"watch configmaps":                     false,
		"update secrets/s3-tls-cert":           false,
		"list secrets":                         false,
		"create mutatingwebhookconfigurations": false,
		"delete mutatingwebhookconfigurations/s3-tls-injector-policies": false,
		"patch mutatingwebhookconfigurations/s3-tls-injector":           false,
		"list mutatingwebhookconfigurations":                            false,
		"patch injectionpolicies":                                       false,
		"get secrets":                                                   false,
		"get secrets -n " + localcluster.Name:                           false,
		"get configmaps":                                                false,
		"delete pods":                                                   false,
		"patch pods":                                                    false,
		"create pods":                                                   false,
		"get pods --subresource=log":                                    false,
		"patch deployments.apps":                                        false,
		"patch statefulsets.apps":                                       false,
		"get statefulsets.apps":                                         false,
		"get leases/another -n " + localcluster.Name:                    false,
		"update leases/s3-tls-injector -n kube-system":                  false,
	} {
		args := append([]string{"auth", "can-i", "--as=" + account}, strings.Fields(question)...)
		stdout, stderr, _ := cluster.Kubectl(t.Context(), "", args...) // no is exit status 1
		want := map[bool]string{true: "yes", false: "no"}[allowed]
		if got := strings.TrimSpace(stdout); got != want {
			t.Errorf("can it %s? %s %s, want %s", question, got, stderr, want)
		}
	}
}
