// Package cli is the command line of kubectl s3-tls. It reads files, asks the
// core and prints; it decides nothing about injection.
package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"
)

// Exit statuses of every command.
const (
	ExitOK = 0
	// ExitFindings: a finding, or a manifest that is refused.
	ExitFindings = 1
	// ExitError: wrong usage, or input that cannot be read.
	ExitError = 2
)

// errRefused ends a command whose findings are printed already, errUnchecked one that could not check
// something, and told so.
var (
	errRefused   = errors.New("refused")
	errUnchecked = errors.New("not checked")
)

// Streams are where a command reads and writes, and its clock.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
	// Piped says that something is piped to In.
	Piped bool
	// Color says that Out is a terminal that shows colours.
	Color bool
	Now   func() time.Time
}

// Run runs the command line until ctx ends, and returns the exit status.
func Run(ctx context.Context, args []string, streams Streams) int {
	if len(args) == 0 && streams.Piped {
		args = functionArgs(&streams)
	}
	root := newRoot(streams) //nolint:contextcheck // commands are given it by cobra
	root.SetArgs(args)
	switch err := root.ExecuteContext(ctx); {
	case err == nil:
		return ExitOK
	case errors.Is(err, errRefused):
		return ExitFindings
	case errors.Is(err, errUnchecked):
		return ExitError
	default:
		printError(streams.Err, err)
		return ExitError
	}
}

// Version is set by the linker in a release.
var Version string //nolint:gochecknoglobals // the linker sets no other

// version is that of the release, or of the module or commit that it was built from.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return cmp.Or(Version, info.Main.Version, "unknown")
	}
	return cmp.Or(Version, "unknown")
}

func newRoot(streams Streams) *cobra.Command {
	root := &cobra.Command{
		Use:   "kubectl-s3_tls",
		Short: "Give pods the CA of their S3 storage",
		Long: `Give pods the CA of their S3 storage, as the s3-tls-injector webhook does, and find out
why storage is not trusted.`,
		Version:       version(),
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl s3-tls"},
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetIn(streams.In)
	root.SetOut(streams.Out)
	root.SetErr(streams.Err)
	root.AddCommand(newInject(streams), newExplain(streams), newExport(streams), newFetchCA(streams), newDoctor(streams), newStatus(streams), newKRM(streams))
	return root
}

// noTemplates is told where the input holds nothing to decide about. The pods of
// an operator's object are made by the operator, and injected by the webhook.
const noTemplates = "no pod and no pod template in the input"

// noArguments points those who forget -f at it.
func noArguments(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("there is no argument %q; name files with -f %s", args[0], args[0])
	}
	return nil
}
