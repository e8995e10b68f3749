package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// nodeCommand is how the program starts itself as the node's first process.
const nodeCommand = "node"

// Addresses. The machine and the node share a network of two; pods and
// Services have theirs inside the node's network namespace.
const (
	nodeName       = "e2e"
	machineAddress = "198.18.53.1"
	nodeAddress    = "198.18.53.2"
	apiServer      = "https://" + nodeAddress + ":6443"
	// link is the machine's end of the network.
	link = "s3-tls-e2e"
)

// Folders of the cluster on this machine, and where the node has them.
const (
	libFolder = "lib" // /var/lib
	logFolder = "log" // /var/log
	// nodeFolder holds keys and configurations, at /var/lib/node.
	nodeFolder = "lib/node"
)

// runNode is the first process in the node's namespaces. It starts the
// components, reaps what ends, and ends when a component does: the kernel then
// ends all others.
func runNode(ctx context.Context, programs, dir string) error {
	if os.Getpid() != 1 {
		return errors.New("it is started by up, as the first process of a PID namespace")
	}
	if err := mountNode(dir); err != nil {
		return err
	}
	if err := waitForNetwork(); err != nil {
		return err
	}
	if err := os.Setenv("PATH", programs+":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"); err != nil {
		return err
	}
	var started processes
	go func() {
		for _, c := range components() {
			if c.needsAPI {
				waitForAPI(ctx)
			}
			if err := started.start(c); err != nil {
				fmt.Fprintln(os.Stderr, "cluster:", err)
				os.Exit(1)
			}
		}
	}()
	return started.reap(ctx)
}

// mountNode gives the node folders of its own where its programs write by
// default. Nothing of it is seen outside.
func mountNode(dir string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil { // among the node's processes
		return fmt.Errorf("share mounts in the node: %w", err)
	}
	mounts := []struct {
		source, target, kind string
		flags                uintptr
	}{
		{"proc", "/proc", "proc", 0},
		{"tmpfs", "/run", "tmpfs", 0},
		{filepath.Join(dir, logFolder), "/var/log", "", unix.MS_BIND},
		{filepath.Join(dir, libFolder), "/var/lib", "", unix.MS_BIND},
	}
	for _, m := range mounts {
		if err := unix.Mount(m.source, m.target, m.kind, m.flags, ""); err != nil {
			return fmt.Errorf("mount %s at %s: %w", m.source, m.target, err)
		}
	}
	return coverTunables()
}

// tunables are kernel settings of the whole machine that the kubelet wants, and
// would set.
var tunables = map[string]string{
	"vm/overcommit_memory": "1", "vm/panic_on_oom": "0", "kernel/panic": "10", "kernel/panic_on_oops": "1",
	"kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000",
}

// coverTunables lets the node see the values that the kubelet wants, so that it
// leaves the machine's as they are.
func coverTunables() error {
	for name, value := range tunables {
		file := filepath.Join("/run", strings.ReplaceAll(name, "/", "."))
		if err := os.WriteFile(file, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		if err := unix.Mount(file, filepath.Join("/proc/sys", name), "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("cover kernel setting %s: %w", name, err)
		}
	}
	return nil
}

// waitForNetwork waits for up to move the link's end in.
func waitForNetwork() error {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		out, err := exec.Command("ip", "-4", "addr", "show", "dev", "eth0", "up").CombinedOutput() // the first process has no other end
		if err == nil && len(out) > 0 {
			return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("wait for the node's network: %w: %s", err, out)
		}
	}
}

func waitForAPI(ctx context.Context) {
	client := &http.Client{
		Timeout:   time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, // only asks whether it is up
	}
	for ; ctx.Err() == nil; time.Sleep(100 * time.Millisecond) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, apiServer+"/readyz", nil)
		if err != nil {
			continue
		}
		response, err := client.Do(request)
		if err != nil {
			continue
		}
		_ = response.Body.Close() // it is not read
		if response.StatusCode == http.StatusOK {
			return
		}
	}
}

// processes are the components that run, by process ID.
type processes struct {
	mu    sync.Mutex
	names map[int]string
}

// start starts a component with a log of its own.
func (p *processes) start(c component) error {
	log, err := os.Create(filepath.Join("/var/log", c.name+".log"))
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the component has it too
	program, err := exec.LookPath(c.name)
	if err != nil {
		return err
	}
	p.mu.Lock() // reap must not wait for it before its name is known
	defer p.mu.Unlock()
	process, err := os.StartProcess(program, append([]string{c.name}, c.args...), &os.ProcAttr{Files: []*os.File{nil, log, log}})
	if err != nil {
		return err
	}
	if p.names == nil {
		p.names = map[int]string{}
	}
	p.names[process.Pid] = c.name
	return nil
}

// reap waits for every process that ends: those that their ended parents left
// to the first process, and, with an error, the first component.
func (p *processes) reap(ctx context.Context) error {
	for ; ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
		if name, status := p.reapEnded(); name != "" {
			return fmt.Errorf("%s ended with status %d; its log tells why", name, status.ExitStatus())
		}
	}
	return ctx.Err()
}

func (p *processes) reapEnded() (name string, status syscall.WaitStatus) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if pid <= 0 || err != nil {
			return "", status
		}
		if name, ok := p.names[pid]; ok {
			return name, status
		}
	}
}
