package inject

import (
	"fmt"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/api/v1alpha1"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/settings"
)

// This file holds every sentence that the core says. A message names the user's
// field and what to do, is at most 120 characters where it can be, and never
// holds the value of a variable or the data of a Secret.

// String renders "path: text".
func (m Message) String() string {
	if m.Path == "" {
		return m.Text
	}
	return m.Path + ": " + m.Text
}

func invalidInject(value string) Message {
	return Message{Path: "metadata.annotations[" + v1alpha1.Inject + "]", Text: settings.Neither(value, "true", "false")}
}

// Warnings about what a container already has.

func variableTaken(container, variable string) string {
	return fmt.Sprintf("%q already sets %s; left unchanged", container, variable)
}

func pathTaken(container, mountPath string) string {
	return fmt.Sprintf("%q mounts %s itself; left alone, set s3-tls/mount-path", container, mountPath)
}

func parentMounted(container, parent, mountPath string) string {
	return fmt.Sprintf("%q mounts %s; the CA goes to %s", container, parent, mountPath)
}

// About the CA. What is wrong with it, package ca says.

func moreProblems(n int) string { return fmt.Sprintf("and %d problems more", n) }

func requiresCA(policy string) string {
	return fmt.Sprintf("policy %q refuses pods until their CA is there and valid (spec.requireCA)", policy)
}

// Rules, as `explain` tells them.

const (
	ruleWindows    = "the pod is for Windows nodes"
	ruleMirrorPod  = "the pod mirrors a static pod of a node"
	ruleNotOptedIn = "neither the pod's annotation, nor its namespace's label, nor a policy opts it in"
	ruleAll        = "all of them"
	ruleNamed      = "those named by s3-tls/containers or the policy"
	ruleClients    = "the recognised S3 clients"
	ruleNoHelpers  = "no S3 client is recognised, so every regular one but known helpers"
)

func ruleExempt(namespace string) string { return fmt.Sprintf("namespace %q is exempt", namespace) }

func rulePod(value string) string {
	return fmt.Sprintf("annotation %s: %q of the pod", v1alpha1.Inject, value)
}

func ruleNamespace(namespace, value string) string {
	return fmt.Sprintf("label %s: %q of namespace %q", v1alpha1.Inject, value, namespace)
}

func rulePolicy(name string) string { return fmt.Sprintf("policy %q selects the pod", name) }

func policyNotSelecting(name, field string, s labels.Selector) string {
	return fmt.Sprintf("%q does not select the pod: %s", name, selectorText(field, s))
}

func policySelecting(name string, namespaces, pods labels.Selector) string {
	return fmt.Sprintf("%q selects the pod: %s, %s", name, selectorText("namespaceSelector", namespaces), selectorText("podSelector", pods))
}

func policyBehind(name, first string) string {
	return fmt.Sprintf("%q selects the pod too; %q is first by name", name, first)
}

func selectorText(field string, s labels.Selector) string {
	if s.Empty() {
		return field + " absent"
	}
	return field + " " + s.String()
}
