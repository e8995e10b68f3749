package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/pflag"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/endpoint"
)

// runProbe asks an endpoint for its certificates, and prints the answer as JSON: what a pod of
// kubectl s3-tls doctor --in-cluster does. It reads nothing and needs no rights.
func runProbe(ctx context.Context, args []string, out, stderr io.Writer) error {
	flags := pflag.NewFlagSet("s3-tls-injector probe", pflag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintf(stderr, "Usage: s3-tls-injector probe HOST:PORT\n\nAsk an endpoint for its certificates, and print the answer as JSON.\n\n%s", flags.FlagUsages())
	}
	name := flags.String("server-name", "", "name that the certificate has to have, where it is not the host's")
	timeout := flags.Duration("timeout", 10*time.Second, "how long to wait for the endpoint")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return err
		}
		return fmt.Errorf("%w; %w", err, errUsage)
	}
	if flags.NArg() != 1 {
		return fmt.Errorf("name one endpoint, as HOST:PORT; %w", errUsage)
	}
	address, err := endpoint.ParseAddress(flags.Arg(0))
	if err != nil {
		return fmt.Errorf("%w; %w", err, errUsage)
	}
	if *name != "" {
		address.Name = *name
	}
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	return json.NewEncoder(out).Encode(endpoint.Ask(ctx, address, "here"))
}
