// Command kubectl-s3_tls is the user's tool; kubectl runs it as "kubectl s3-tls".
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	info, err := os.Stdout.Stat()
	input, inputErr := os.Stdin.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0
	os.Exit(cli.Run(ctx, os.Args[1:], cli.Streams{
		In:    os.Stdin,
		Out:   os.Stdout,
		Err:   os.Stderr,
		Piped: inputErr == nil && input.Mode()&os.ModeNamedPipe != 0,
		Color: terminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb",
		Now:   time.Now,
	}))
}
