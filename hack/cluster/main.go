// Command cluster runs a whole Kubernetes cluster of one node on this machine:
// etcd, the control plane, containerd, a kubelet, kube-proxy and CoreDNS, without
// a container engine and without a registry.
//
// The node is a set of namespaces (mount, PID, network) around one process. It
// sees /run, /var/lib and /var/log of its own, and its network
// holds two addresses: one for the machine, one for itself. When that process
// ends, the kernel ends every process, mount and interface of the cluster with
// it, so that a cluster that was killed leaves files and cgroups and no more.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

const usage = `Usage: cluster COMMAND [FLAGS]

Commands:
  up      start the cluster, or load the images again into the one that runs
  check   tell what this machine lacks to run one
  down    stop it and remove everything that it made
  logs    print the end of every component's log
  images  write the images as tars, for another cluster to load

Examples:
  cluster up --programs "$(hack/assets.sh api node products)" --built DIR --dir /var/tmp/s3-tls-injector-e2e
  cluster down --dir /var/tmp/s3-tls-injector-e2e

Flags:
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("cluster", flag.ContinueOnError)
	programs := flags.String("programs", "", "folder of programs, as hack/assets.sh prints it")
	built := flags.String("built", "", "folder of the project's own programs: s3-tls-injector, pause, probe")
	dir := flags.String("dir", "/var/tmp/s3-tls-injector-e2e", "folder of everything that the cluster writes")
	dockerfile := flags.String("dockerfile", "Dockerfile", "the layout of the project's own image")
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), usage)
		flags.PrintDefaults()
	}
	if len(args) == 0 {
		flags.Usage()
		return errors.New("a command is missing: up, check, down, logs or images")
	}
	if err := flags.Parse(args[1:]); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	c := &cluster{programs: *programs, dir: filepath.Clean(*dir), images: images{programs: *programs, built: *built, dockerfile: *dockerfile}}
	switch args[0] {
	case "up":
		return c.up(ctx)
	case "check":
		return checkHost()
	case "down":
		return c.down()
	case "logs":
		return c.printLogs(os.Stdout)
	case "images":
		return c.images.write(c.dir)
	case nodeCommand:
		return runNode(ctx, *programs, *dir)
	}
	flags.Usage()
	return fmt.Errorf("unknown command %q", args[0])
}

func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "cluster: "+format+"\n", args...)
}
