// Package apiserver tests the project on a real API server with real
// cert-manager controllers, installed from deploy/install.yaml.
package apiserver

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/s3-tls-injector/s3-tls-injector/e2e/localcluster"
)

// What every test shares. Tests keep apart by namespaces of their own.
var (
	cluster  *localcluster.Cluster
	injector *localcluster.Injector
	program  string
)

func TestMain(m *testing.M) {
	flag.Parse()
	status, err := setUp(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		status = 1
	}
	os.Exit(status)
}

func setUp(m *testing.M) (status int, err error) {
	ctx := context.Background()
	assets := os.Getenv("S3_TLS_ASSETS")
	if assets == "" {
		return 1, errors.New("S3_TLS_ASSETS is not set; run make test, or set it to what hack/assets.sh prints")
	}
	dir, err := os.MkdirTemp("", "s3-tls-injector-test-")
	if err != nil {
		return 1, err
	}
	defer func() {
		if status == 0 {
			err = errors.Join(err, os.RemoveAll(dir))
		} else {
			fmt.Fprintln(os.Stderr, "logs are kept in", dir)
		}
	}()
	source, err := filepath.Abs("../..")
	if err != nil {
		return 1, err
	}
	program = filepath.Join(dir, "s3-tls-injector")
	arguments := []string{"build", "-o", program}
	if cgo, err := exec.CommandContext(ctx, "go", "env", "CGO_ENABLED").Output(); err == nil && strings.TrimSpace(string(cgo)) == "1" {
		arguments = append(arguments, "-race") // it needs a C compiler
	}
	build := exec.CommandContext(ctx, "go", append(arguments, "./cmd/s3-tls-injector")...)
	build.Dir = source
	if out, err := build.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("build the injector: %w: %s", err, out)
	}
	cluster, err = localcluster.Start(ctx, localcluster.Options{
		Assets: assets, Dir: dir, Source: source, Progress: func(step string) { fmt.Println("#", step) },
	})
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, cluster.Stop()) }()
	port, err := localcluster.FreePort(ctx)
	if err != nil {
		return 1, err
	}
	if err := cluster.Install(ctx, port); err != nil {
		return 1, err
	}
	if injector, err = cluster.StartInjector(ctx, program, port, "--drain=1s"); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// newClient returns a client that collects the warnings of the API server.
func newClient(t *testing.T) (client.Client, *warnings) {
	t.Helper()
	w := &warnings{}
	config := rest.CopyConfig(cluster.Config)
	config.WarningHandlerWithContext = w
	c, err := client.New(config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c, w
}

type warnings struct{ texts []string }

func (w *warnings) HandleWarningHeaderWithContext(_ context.Context, _ int, _, text string) {
	w.texts = append(w.texts, text)
}

// ownCluster starts a cluster that a test can change as it likes.
func ownCluster(t *testing.T) *localcluster.Cluster {
	t.Helper()
	own, err := localcluster.Start(t.Context(), localcluster.Options{
		Assets: cluster.Assets, Dir: t.TempDir(), Source: cluster.Source, Progress: func(step string) { t.Log(step) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := own.Stop(); err != nil {
			t.Error(err)
		}
	})
	return own
}
