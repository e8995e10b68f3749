// Package cluster shows on a whole cluster what the project promises: Thanos,
// Tempo, Loki and Mimir read and write S3 storage behind a private CA, and
// nothing else in the cluster notices.
//
// The cluster is the one of KUBECONFIG: `make e2e-up` starts one on this machine.
// Each test has a namespace of its own and a manifest in manifests/ that it
// applies as a user would, with kubectl.
package cluster

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	cmclient "github.com/cert-manager/cert-manager/pkg/client/clientset/versioned"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// What every test shares.
var (
	assets      string // as hack/assets.sh prints it
	config      *rest.Config
	client      *kubernetes.Clientset
	certManager *cmclient.Clientset
)

func TestMain(m *testing.M) {
	flag.Parse()
	if err := setUp(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func setUp(ctx context.Context) (err error) {
	assets = os.Getenv("S3_TLS_ASSETS")
	kubeconfig := os.Getenv("KUBECONFIG")
	if assets == "" || kubeconfig == "" {
		return errors.New("S3_TLS_ASSETS or KUBECONFIG is not set; run make e2e, or make e2e-up and set what it prints")
	}
	if config, err = clientcmd.BuildConfigFromFlags("", kubeconfig); err != nil {
		return err
	}
	config.QPS, config.Burst = -1, -1
	config.WarningHandler = rest.NoWarnings{} // hundreds of pods are created whose CA is missing on purpose
	if client, err = kubernetes.NewForConfig(config); err != nil {
		return err
	}
	if err := checkCluster(ctx); err != nil {
		return err
	}
	if os.Getenv("KUBECACHEDIR") == "" { // kubectl would write to the user's home
		if err := os.Setenv("KUBECACHEDIR", filepath.Join(filepath.Dir(kubeconfig), "kubectl-cache")); err != nil {
			return err
		}
	}
	if certManager, err = cmclient.NewForConfig(config); err != nil {
		return err
	}
	return install(ctx)
}

// checkCluster refuses a cluster that was not made for these tests: they install
// CRDs, and stop the injector.
func checkCluster(ctx context.Context) error {
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	if len(nodes.Items) != 1 || !slices.Contains([]string{"e2e", "s3-tls-injector-e2e-control-plane"}, nodes.Items[0].Name) {
		return errors.New("KUBECONFIG is none of a cluster that make e2e-up made; the tests would change it")
	}
	return nil
}

// install does what the README tells a user to do, and adds the storage.
func install(ctx context.Context) error {
	for _, step := range []struct {
		what     string
		commands [][]string
	}{
		{"installing cert-manager", [][]string{
			{"apply", "--server-side", "-f", filepath.Join(assets, "cert-manager-crds")},
			{"wait", "--for=condition=Established", "--timeout=1m", "-f", filepath.Join(assets, "cert-manager-crds")},
			{"apply", "-f", "manifests/cert-manager.yaml"},
			{"-n", "cert-manager", "rollout", "status", "--timeout=3m", "deployment/cert-manager"},
		}},
		{"installing s3-tls-injector from deploy/install.yaml", [][]string{
			{"apply", "-f", "../../deploy/install.yaml"},
			{"-n", injectorName, "rollout", "status", "--timeout=3m", "deployment/" + injectorName},
		}},
		{"starting MinIO with a certificate from a private CA", [][]string{
			{"apply", "-f", "manifests/storage.yaml"},
			{"-n", "storage", "wait", "--for=condition=Ready", "--timeout=1m", "certificate", "--all"},
			{"-n", "storage", "rollout", "status", "--timeout=3m", "deployment/minio"},
		}},
	} {
		fmt.Println("#", step.what)
		for _, command := range step.commands {
			if limit := limitOf(command); limit != "" {
				fmt.Println("# waiting, at most", limit, "for kubectl", strings.Join(command, " "))
			}
			if _, err := runKubectl(ctx, "", command...); err != nil {
				return err
			}
		}
	}
	return nil
}
