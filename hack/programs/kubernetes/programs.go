//go:build tools

// Package kubernetes pins the Kubernetes programs that tests and the demo run.
// They are built from the published module: every staging module that
// k8s.io/kubernetes replaces with a folder of its own is replaced in go.mod by
// the release of the same version.
package kubernetes

import (
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
	_ "k8s.io/kubernetes/cmd/kube-controller-manager"
	_ "k8s.io/kubernetes/cmd/kube-proxy"
	_ "k8s.io/kubernetes/cmd/kube-scheduler"
	_ "k8s.io/kubernetes/cmd/kubectl"
	_ "k8s.io/kubernetes/cmd/kubelet"
)
