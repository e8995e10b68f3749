// Command s3-tls-injector serves the admission webhook.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/pflag"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/api/v1alpha1"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	if len(os.Args) > 1 && os.Args[1] == "probe" {
		os.Exit(exitStatus(runProbe(ctx, os.Args[2:], os.Stdout, os.Stderr), os.Stderr))
	}
	os.Exit(exitStatus(run(ctx, os.Args[1:], os.Getenv("POD_NAMESPACE"), os.Stderr), os.Stderr))
}

func exitStatus(err error, stderr io.Writer) int {
	switch {
	case err == nil, errors.Is(err, pflag.ErrHelp):
		return 0
	case errors.Is(err, errUsage):
		fmt.Fprintln(stderr, "error:", err)
		return 2
	default:
		fmt.Fprintln(stderr, "error:", err)
		return 1
	}
}

// run serves until ctx ends, and then for as long as --drain says.
func run(ctx context.Context, args []string, podNamespace string, stderr io.Writer) error {
	o, err := parseOptions(args, stderr)
	if err != nil {
		return err
	}
	o.podNamespace = cmp.Or(podNamespace, v1alpha1.InjectorNamespace)
	if podNamespace != "" {
		o.exemptNamespaces = append(o.exemptNamespaces, podNamespace)
	}
	return newServer(o, newLogger(o, stderr)).run(ctx)
}
