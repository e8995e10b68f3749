// Command speed measures the injector's server beside a bare HTTPS server, which does nothing with a
// review and so is the limit, and beside the handler that most webhooks have.
//
//	go run ./speed [--out FILE]                 the servers, side by side
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

	"github.com/s3-tls-injector/s3-tls-injector/e2e/localcluster"
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
	assets := flags.String("assets", "", "folder that hack/assets.sh prints")
	testdata := flags.String("testdata", filepath.Join("speed", "testdata"), "folder of the reviews")
	out := flags.String("out", "", "file that takes the results, as JSON")
	each := flags.Duration("for", 1500*time.Millisecond, "how long each run takes")
	repetitions := flags.Int("repetitions", 3, "how often each is run")
	switch {
	case len(args) == 4 && args[0] == "serve":
		return serve(ctx, args[1], args[2], args[3])
	case len(args) > 0 && args[0] == "capture":
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		return capture(ctx, *assets, *testdata)
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	r := &results{Machine: fmt.Sprintf("%d CPUs, %s/%s, %s", runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version()), Taken: time.Now().UTC().Truncate(time.Second)}
	if err := sideBySide(ctx, r, *testdata, *each, *repetitions); err != nil {
		return err
	}
	r.print(os.Stdout)
	if *out == "" {
		return nil
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(*out, append(data, '\n'), 0o600)
}

// sideBySide runs the three servers interleaved, so that what else the machine does hits all of them.
func sideBySide(ctx context.Context, r *results, testdata string, each time.Duration, repetitions int) (err error) {
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
	roots, err := writeCertificate(dir)
	if err != nil {
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
		port, err := localcluster.FreePort(ctx)
		if err != nil {
			return err
		}
		p := &process{name: name, url: "https://127.0.0.1:" + port + path, roots: roots, log: filepath.Join(dir, name+".log")}
		args := []string{"serve", name, port, dir}
		run := self
		if name == "injector" {
			run, args = program, []string{"--standalone", "--host=127.0.0.1", "--port=" + port, "--cert-dir=" + dir, "--health-address=127.0.0.1:0", "--metrics-address=0", "--drain=0s"}
		}
		ready, err := start(ctx, p, run, args...)
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
		if reviews[name], err = os.ReadFile(filepath.Join(testdata, name+".json")); err != nil {
			return err
		}
	}
	for repetition := range repetitions {
		for _, pod := range podNames {
			for _, clients := range []int{1, 16} {
				progress(fmt.Sprintf("%d of %d: %s, %d at once", repetition+1, repetitions, pod, clients))
				for _, p := range servers {
					m, err := load(ctx, p, reviews[pod], clients, each)
					if err != nil {
						return err
					}
					r.add(pod, len(reviews[pod]), clients, p.name, m)
				}
			}
		}
	}
	for i, p := range servers {
		if _, err := load(ctx, p, reviews["typical"], 64, each); err != nil {
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
