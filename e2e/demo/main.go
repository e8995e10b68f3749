// Command demo shows the injection: it starts a real API server on loopback,
// installs cert-manager and the project, applies the examples, makes the pods
// that their controllers would make, and prints what was added to each. It
// leaves nothing behind.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/s3-tls-injector/s3-tls-injector/e2e/localcluster"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	assets := flag.String("assets", "", "folder that hack/assets.sh prints")
	source := flag.String("source", "..", "root of the project")
	flag.Parse()
	info, err := os.Stdout.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("NO_COLOR") == ""
	d := &demo{out: os.Stdout, color: terminal, assets: *assets, source: *source, started: time.Now()}
	if err := d.run(ctx); err != nil {
		if ctx.Err() != nil {
			err = errors.New("interrupted; everything that was started is stopped")
		}
		fmt.Fprintln(os.Stderr, "error:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop was called
	}
}

type demo struct {
	out     io.Writer
	color   bool
	assets  string
	source  string
	started time.Time
	cluster *localcluster.Cluster
}

func (d *demo) run(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "s3-tls-injector-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if d.source, err = filepath.Abs(d.source); err != nil {
		return err
	}
	program := filepath.Join(dir, "s3-tls-injector")
	d.step("building s3-tls-injector")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", program, "./cmd/s3-tls-injector")
	build.Cancel = func() error { return build.Process.Signal(os.Interrupt) } // so that it removes its temporary files
	build.WaitDelay = 10 * time.Second
	build.Dir, build.Env = d.source, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the injector: %w: %s", err, out)
	}
	d.cluster, err = localcluster.Start(ctx, localcluster.Options{Assets: d.assets, Dir: dir, Source: d.source, Progress: d.step})
	if err != nil {
		return err
	}
	defer func() {
		d.step("stopping everything")
		err = errors.Join(err, d.cluster.Stop())
	}()
	port, err := localcluster.FreePort(ctx)
	if err != nil {
		return err
	}
	if err := d.cluster.Install(ctx, port); err != nil {
		return err
	}
	injector, err := d.cluster.StartInjector(ctx, program, port, "--drain=0s")
	if err != nil {
		return err
	}
	if err := d.show(ctx); err != nil {
		return fmt.Errorf("%w\nlog of the injector:\n%s", err, readLog(injector.Log))
	}
	return nil
}

func readLog(name string) string {
	data, err := os.ReadFile(name)
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// step tells what is done next, and when.
func (d *demo) step(text string) {
	fmt.Fprintf(d.out, "%s%5.1fs  %s%s\n", d.paint(dim), time.Since(d.started).Seconds(), text, d.paint(reset))
}

func (d *demo) title(format string, args ...any) {
	fmt.Fprintf(d.out, "\n%s%s%s\n", d.paint(bold), fmt.Sprintf(format, args...), d.paint(reset))
}

const (
	bold  = "\x1b[1m"
	dim   = "\x1b[2m"
	green = "\x1b[32m"
	red   = "\x1b[31m"
	reset = "\x1b[0m"
)

func (d *demo) paint(color string) string {
	if !d.color {
		return ""
	}
	return color
}
