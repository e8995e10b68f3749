package main

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

//go:embed config
var config embed.FS

// cluster is the one cluster that runs from a folder.
type cluster struct {
	programs, dir string
	images        images
}

// path returns a path in the cluster's folder.
func (c *cluster) path(elements ...string) string {
	return filepath.Join(append([]string{c.dir}, elements...)...)
}

func (c *cluster) kubeconfig() string { return c.path("kubeconfig") }

// up starts the cluster. One that runs already is kept and gets the images
// again, and whatever else it lacks.
func (c *cluster) up(ctx context.Context) error {
	if err := checkHost(); err != nil {
		return err
	}
	if _, running := c.pid(); running {
		progress("it runs already")
		return c.complete(ctx)
	}
	if err := c.down(); err != nil { // what a killed one left
		return err
	}
	err := c.startNode(ctx)
	if err == nil {
		err = c.complete(ctx)
	}
	if err != nil {
		return errors.Join(err, c.printLogs(os.Stderr), c.down())
	}
	return nil
}

// complete waits for the API server and adds images and CoreDNS.
func (c *cluster) complete(ctx context.Context) error {
	progress("waiting for the API server, at most 1m")
	if err := c.waitFor(ctx, "the API server", time.Minute, c.writeKubeconfig); err != nil {
		return err
	}
	if err := c.loadImages(ctx); err != nil {
		return err
	}
	progress("waiting for CoreDNS, at most 2m, and the node, at most 1m")
	for _, args := range [][]string{
		{"apply", "--server-side", "-f", c.path(nodeFolder, "coredns.yaml")},
		{"-n", "kube-system", "rollout", "status", "--timeout=2m", "deployment/coredns"},
		{"wait", "--for=condition=Ready", "--timeout=1m", "node", "--all"},
	} {
		if out, err := c.kubectl(ctx, args...); err != nil {
			return fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, out)
		}
	}
	progress("the cluster runs; its kubeconfig is %s", c.kubeconfig())
	return nil
}

// down ends the node's first process, and with it all that the cluster runs, and
// removes its files and cgroups.
func (c *cluster) down() error {
	if pid, running := c.pid(); running {
		progress("stopping the node, in at most 1m")
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil { // a first process ignores other signals
			return fmt.Errorf("stop the node: %w", err)
		}
	}
	gone := func() error {
		if pid, running := c.pid(); running {
			return fmt.Errorf("process %d still runs", pid)
		}
		return nil
	}
	if err := errors.Join(retry(gone), removeLink(), removeCgroups()); err != nil {
		return err
	}
	return os.RemoveAll(c.dir)
}

// removeLink removes the machine's end of the network. The kernel would do so
// too, when it gets round to removing the namespace of the other end.
func removeLink() error {
	if _, err := net.InterfaceByName(link); err != nil {
		return nil //nolint:nilerr // there is none
	}
	return retry(func() error {
		out, err := exec.Command("ip", "link", "delete", link).CombinedOutput() // it takes no time
		if _, missing := net.InterfaceByName(link); missing != nil || err == nil {
			return nil //nolint:nilerr // it is gone
		}
		return fmt.Errorf("remove network interface %s: %w: %s", link, err, out)
	})
}

// pid returns the process ID of the node's first process. The file also holds
// its start time, because a process ID is used again.
func (c *cluster) pid() (pid int, running bool) {
	text, err := os.ReadFile(c.path("pid"))
	if err != nil {
		return 0, false
	}
	id, started, _ := strings.Cut(string(text), " ")
	pid, err = strconv.Atoi(id)
	return pid, err == nil && startTime(pid) == started
}

// startTime returns when a process started, in the clock ticks of proc(5), and
// nothing where it has ended.
func startTime(pid int) string {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	_, afterName, _ := bytes.Cut(stat, []byte(") "))
	fields := strings.Fields(string(afterName))
	if len(fields) < 20 || fields[0] == "Z" {
		return ""
	}
	return fields[19]
}

// prepare writes keys, tokens and configurations.
func (c *cluster) prepare() error {
	for _, folder := range []string{libFolder, logFolder, nodeFolder, filepath.Join(nodeFolder, "cni")} {
		if err := os.MkdirAll(c.path(folder), 0o755); err != nil {
			return err
		}
	}
	volume := c.path(libFolder, "e2e-volume")                                             // for a PersistentVolume of the tests
	if err := errors.Join(os.Mkdir(volume, 0o700), os.Chmod(volume, 0o777)); err != nil { // pods of any user write there
		return err
	}
	if err := makeCgroups(); err != nil {
		return err
	}
	key, err := newServiceAccountKey()
	if err != nil {
		return err
	}
	if err := os.WriteFile(c.path(nodeFolder, "service-account.key"), key, 0o600); err != nil {
		return err
	}
	if err := c.writeTokens(); err != nil {
		return err
	}
	return fs.WalkDir(config, "config", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := config.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(c.path(nodeFolder, strings.TrimPrefix(path, "config/")), text, 0o644) // nothing secret
	})
}

// startNode writes what the node needs, starts its first process in namespaces
// of its own and gives it a network.
func (c *cluster) startNode(ctx context.Context) error {
	if err := c.prepare(); err != nil {
		return err
	}
	progress("starting etcd, the control plane, containerd and the kubelet; logs are in %s", c.path(logFolder))
	self, err := os.Executable()
	if err != nil {
		return err
	}
	log, err := os.Create(c.path(logFolder, "node.log"))
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()                                                // the node has it too
	node := exec.Command(self, nodeCommand, "--programs="+c.programs, "--dir="+c.dir) // it outlives this command
	node.Stdout, node.Stderr, node.Dir = log, log, "/"
	node.SysProcAttr = &syscall.SysProcAttr{
		Setsid:     true,
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS,
	}
	if err := node.Start(); err != nil {
		return fmt.Errorf("start the node: %w", err)
	}
	pid := strconv.Itoa(node.Process.Pid)
	if err := os.WriteFile(c.path("pid"), []byte(pid+" "+startTime(node.Process.Pid)), 0o600); err != nil {
		return err
	}
	go func() { _ = node.Wait() }() // so that one that ends at once leaves no zombie
	inNode := []string{"nsenter", "--net=/proc/" + pid + "/ns/net", "ip"}
	for _, args := range [][]string{
		{"ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", pid},
		{"ip", "addr", "add", machineAddress + "/30", "dev", link},
		{"ip", "link", "set", link, "up"},
		append(inNode, "link", "set", "lo", "up"),
		append(inNode, "addr", "add", nodeAddress+"/30", "dev", "eth0"),
		append(inNode, "link", "set", "eth0", "up"),
		append(inNode, "route", "add", "default", "via", machineAddress),
	} {
		if out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, out)
		}
	}
	return nil
}

// loadImages writes every image and imports it.
func (c *cluster) loadImages(ctx context.Context) error {
	folder := c.path("images")
	if err := c.images.write(folder); err != nil {
		return err
	}
	pid, _ := c.pid()
	tars, err := filepath.Glob(filepath.Join(folder, "*.tar"))
	if err != nil {
		return err
	}
	socket := fmt.Sprintf("/proc/%d/root/run/containerd/containerd.sock", pid)
	for _, tar := range tars {
		progress("loading %s, in at most 2m", filepath.Base(tar))
		if err := c.loadImage(ctx, socket, tar); err != nil {
			return fmt.Errorf("load %s: %w", filepath.Base(tar), err)
		}
	}
	return os.RemoveAll(folder)
}

func (c *cluster) loadImage(ctx context.Context, socket, tar string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, filepath.Join(c.programs, "ctr"), "--address="+socket, "-n", "k8s.io", "images", "import", tar).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// waitFor calls until there is no error, for at most limit, and ends early
// where the node has ended.
func (c *cluster) waitFor(ctx context.Context, what string, limit time.Duration, call func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := call(ctx)
		if err == nil {
			return nil
		}
		if _, running := c.pid(); !running {
			return errors.New("the node has ended; node.log tells why")
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited in vain for %s: %w", what, err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// retry calls until there is no error, for at most a minute.
func retry(call func() error) error {
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		err := call()
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

// printLogs prints the end of every component's log.
func (c *cluster) printLogs(w io.Writer) error {
	const lines = 40
	components, err := filepath.Glob(c.path(logFolder, "*.log"))
	if err != nil {
		return err
	}
	// The pods of the project and of what it needs; the tests print their own.
	pods, err := filepath.Glob(c.path(logFolder, "pods", "*", "*", "*.log"))
	if err != nil {
		return err
	}
	pods = slices.DeleteFunc(pods, func(path string) bool {
		folder := filepath.Base(filepath.Dir(filepath.Dir(path)))
		namespace, _, _ := strings.Cut(folder, "_")
		return !slices.Contains([]string{"s3-tls-injector", "cert-manager", "kube-system", "storage"}, namespace)
	})
	for _, path := range slices.Concat(components, pods) {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		all := strings.Split(strings.TrimSpace(string(text)), "\n")
		fmt.Fprintf(w, "=== the end of %s\n%s\n", path, strings.Join(all[max(0, len(all)-lines):], "\n"))
	}
	return nil
}
