// Command speed measures the injector's server beside a bare HTTPS server, which does nothing with a
// review and so is the limit, and beside the handler that most webhooks have.
//
//	go run ./speed [--out FILE]                 the servers, side by side
//	go run ./speed --assets FOLDER              beside that, what needs a real API server
//	go run ./speed capture --assets FOLDER      writes the reviews anew
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// podNames are the pods of testdata: of 5 KB, a typical one, and one of ten containers.
var podNames = []string{"small", "typical", "large"}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop was called
	}
}

func progress(text string) { fmt.Fprintln(os.Stderr, "#", text) }

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("speed", flag.ExitOnError)
	o := &options{}
	flags.StringVar(&o.assets, "assets", "", "folder that hack/assets.sh prints; with it, what needs an API server is measured too")
	flags.StringVar(&o.testdata, "testdata", filepath.Join("speed", "testdata"), "folder of the pods and their reviews")
	flags.StringVar(&o.out, "out", "", "file that takes the results, as JSON")
	flags.DurationVar(&o.each, "for", 1500*time.Millisecond, "how long each run takes")
	flags.IntVar(&o.repetitions, "repetitions", 3, "how often each is run")
	flags.IntVar(&o.creations, "creations", 500, "how many pods are created in each way")
	switch {
	case len(args) == 4 && args[0] == "serve":
		return serve(ctx, args[1], args[2], args[3])
	case len(args) > 0 && args[0] == "capture":
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		return capture(ctx, o.assets, o.testdata)
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	r := &results{Machine: fmt.Sprintf("%d CPUs, %s/%s, %s", runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version()), Taken: time.Now().UTC().Truncate(time.Second)}
	if err := sideBySide(ctx, r, o); err != nil {
		return err
	}
	if o.assets != "" {
		if err := withCluster(ctx, r, o); err != nil {
			return err
		}
	}
	r.print(os.Stdout)
	if o.out == "" {
		return nil
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(o.out, append(data, '\n'), 0o600)
}

// options are the flags.
type options struct {
	assets, testdata, out  string
	each                   time.Duration
	repetitions, creations int
}

// sideBySide runs the three servers interleaved, so that what else the machine does hits all of them.
func sideBySide(ctx context.Context, r *results, o *options) (err error) {
	dir, err := os.MkdirTemp("", "s3-tls-injector-speed-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	program := filepath.Join(dir, "s3-tls-injector")
	progress("building s3-tls-injector")
	if err := build(ctx, program); err != nil {
		return err
	}
	if err := writeCertificate(dir); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	var servers []*process
	defer func() {
		for _, p := range servers {
			err = errors.Join(err, p.stop())
		}
	}()
	for _, name := range []string{"bare", "usual", "injector"} {
		run := self
		if name == "injector" {
			run = program
		}
		p, ready, err := startServer(ctx, name, run, dir)
		if err != nil {
			return err
		}
		servers = append(servers, p)
		memory, err := p.memory()
		if err != nil {
			return err
		}
		r.Processes = append(r.Processes, processResult{Name: name, Ready: ready, Idle: memory})
	}
	reviews := map[string][]byte{}
	for _, name := range podNames {
		if reviews[name], err = os.ReadFile(filepath.Join(o.testdata, name+".json")); err != nil {
			return err
		}
	}
	for repetition := range o.repetitions {
		for _, pod := range podNames {
			for _, clients := range []int{1, 16} {
				progress(fmt.Sprintf("%d of %d: %s, %d at once", repetition+1, o.repetitions, pod, clients))
				for _, p := range servers {
					m, err := load(ctx, p, reviews[pod], clients, o.each)
					if err != nil {
						return err
					}
					r.add(pod, len(reviews[pod]), clients, p.name, m)
				}
			}
		}
	}
	for i, p := range servers {
		if _, err := load(ctx, p, reviews["typical"], 64, o.each); err != nil {
			return err
		}
		if r.Processes[i].Loaded, err = p.memory(); err != nil {
			return err
		}
	}
	return nil
}

// build builds the injector as its image is built.
func build(ctx context.Context, program string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, "./cmd/s3-tls-injector")
	cmd.Dir, cmd.Env = "..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the injector: %w: %s", err, out)
	}
	return nil
}
