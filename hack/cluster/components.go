package main

// component is a program of the node.
type component struct {
	name     string
	needsAPI bool // it is started when the API server is ready
	args     []string
}

// components returns what runs on the node, in the order of its start.
func components() []component {
	const (
		certificate = "/var/lib/kubernetes/apiserver.crt" // the API server makes it
		accountKey  = "/var/lib/node/service-account.key"
		issuer      = "https://kubernetes.default.svc.cluster.local"
	)
	return []component{
		{name: "etcd", args: []string{
			"--data-dir=/var/lib/etcd", "--unsafe-no-fsync", "--log-level=warn",
			"--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379",
			"--listen-peer-urls=http://127.0.0.1:2380",
		}},
		{name: "containerd", args: []string{"--config=/var/lib/node/containerd.toml"}},
		{name: "kube-apiserver", args: []string{
			"--etcd-servers=http://127.0.0.1:2379",
			"--advertise-address=" + nodeAddress,
			"--cert-dir=/var/lib/kubernetes",
			"--token-auth-file=/var/lib/node/tokens.csv",
			"--authorization-mode=Node,RBAC",
			"--service-account-issuer=" + issuer,
			"--service-account-key-file=" + accountKey,
			"--service-account-signing-key-file=" + accountKey,
			"--service-cluster-ip-range=10.96.0.0/16",
			"--allow-privileged=true",
			"--kubelet-preferred-address-types=InternalIP",
		}},
		{name: "kube-controller-manager", needsAPI: true, args: []string{
			"--kubeconfig=/var/lib/node/kube-controller-manager.kubeconfig",
			"--bind-address=127.0.0.1", "--leader-elect=false",
			"--use-service-account-credentials=true",
			"--service-account-private-key-file=" + accountKey,
			"--root-ca-file=" + certificate,
			"--flex-volume-plugin-dir=/var/lib/kubelet-volume-plugins",
		}},
		{name: "kube-scheduler", needsAPI: true, args: []string{
			"--kubeconfig=/var/lib/node/kube-scheduler.kubeconfig",
			"--bind-address=127.0.0.1", "--leader-elect=false",
		}},
		{name: "kubelet", needsAPI: true, args: []string{
			"--config=/var/lib/node/kubelet.yaml",
			"--kubeconfig=/var/lib/node/kubelet.kubeconfig",
			"--hostname-override=" + nodeName, "--node-ip=" + nodeAddress,
		}},
		{name: "kube-proxy", needsAPI: true, args: []string{
			"--config=/var/lib/node/kube-proxy.yaml", "--hostname-override=" + nodeName,
		}},
	}
}

// users are the API server's, by the component that acts as them, with their groups.
func users() map[string][]string {
	return map[string][]string{
		"admin":                   {"admin", "system:masters"},
		"kube-controller-manager": {"system:kube-controller-manager"},
		"kube-scheduler":          {"system:kube-scheduler"},
		"kubelet":                 {"system:node:" + nodeName, "system:nodes"},
		"kube-proxy":              {"system:kube-proxy"},
	}
}
