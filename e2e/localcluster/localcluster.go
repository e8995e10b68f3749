// Package localcluster runs a real API server on loopback with the real
// cert-manager controllers, and installs the project on it as a user does. It
// has no node: pods are admitted and stored, and never start.
package localcluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// Options say what is run, and where.
type Options struct {
	// Assets is the folder with etcd, kube-apiserver, kubectl and cert-manager, as
	// hack/assets.sh prints it.
	Assets string
	// Dir takes everything that is written: keys, kubeconfigs, logs.
	Dir string
	// Source is the root of the project.
	Source string
	// Progress is told what is done next.
	Progress func(step string)
}

// Cluster is a running API server.
type Cluster struct {
	Options

	// Config is the administrator's.
	Config *rest.Config
	// Kubeconfig is a file with the same.
	Kubeconfig string

	environment *envtest.Environment
	processes   []*Process
	// running ends when the cluster stops.
	running context.Context
	cancel  context.CancelFunc
}

// Start starts etcd, the API server and cert-manager. What was started is
// stopped again where it fails.
func Start(ctx context.Context, o Options) (_ *Cluster, err error) {
	ctrl.SetLogger(logr.Discard())
	c := &Cluster{Options: o, environment: &envtest.Environment{BinaryAssetsDirectory: o.Assets}}
	c.running, c.cancel = context.WithCancel(context.WithoutCancel(ctx))
	c.environment.ControlPlane.APIServer = &envtest.APIServer{}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Stop())
		}
	}()
	o.Progress("starting etcd and kube-apiserver")
	if c.Config, err = c.environment.Start(); err != nil {
		return nil, fmt.Errorf("start the API server: %w", err)
	}
	c.Config.QPS, c.Config.Burst = -1, -1
	c.Kubeconfig = filepath.Join(o.Dir, "kubeconfig")
	if err := os.WriteFile(c.Kubeconfig, c.environment.KubeConfig, 0o600); err != nil {
		return nil, err
	}
	o.Progress("installing cert-manager")
	if err := c.must(ctx, "create", "-f", filepath.Join(o.Assets, "cert-manager-crds")); err != nil {
		return nil, err
	}
	if err := c.must(ctx, "wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"); err != nil {
		return nil, err
	}
	if err := c.must(ctx, "create", "namespace", "cert-manager"); err != nil {
		return nil, err
	}
	_, err = c.run("cert-manager", filepath.Join(o.Assets, "cert-manager"), nil, "--kubeconfig="+c.Kubeconfig)
	return c, err
}

// Stop stops every process that was started, the last first.
func (c *Cluster) Stop() error {
	c.cancel()
	var errs []error
	for i := len(c.processes) - 1; i >= 0; i-- {
		errs = append(errs, c.processes[i].Stop())
	}
	return errors.Join(append(errs, c.environment.Stop())...)
}

// Kubectl runs kubectl as the administrator.
func (c *Cluster) Kubectl(ctx context.Context, stdin string, args ...string) (stdout, stderr string, err error) {
	args = append([]string{"--kubeconfig=" + c.Kubeconfig, "--cache-dir=" + filepath.Join(c.Dir, "kubectl-cache")}, args...)
	cmd := exec.CommandContext(ctx, filepath.Join(c.Assets, "kubectl"), args...)
	var out, errOut bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errOut
	err = cmd.Run()
	return out.String(), errOut.String(), err
}

func (c *Cluster) must(ctx context.Context, args ...string) error {
	if _, stderr, err := c.Kubectl(ctx, "", args...); err != nil {
		return fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, stderr)
	}
	return nil
}

// Process is a running program.
type Process struct {
	// Log is the file that takes its output.
	Log string

	cmd  *exec.Cmd
	done chan error
}

func (c *Cluster) run(name, program string, env []string, args ...string) (*Process, error) {
	log, err := os.Create(filepath.Join(c.Dir, name+".log"))
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program, args...) // it outlives the caller's context and is stopped by Stop
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, log.Close())
	}
	p := &Process{Log: log.Name(), cmd: cmd, done: make(chan error, 1)}
	go func() {
		err := cmd.Wait()
		p.done <- errors.Join(err, log.Close())
	}()
	c.processes = append(c.processes, p)
	return p, nil
}

// Signal sends a signal.
func (p *Process) Signal(signal os.Signal) error { return p.cmd.Process.Signal(signal) }

// Wait waits until the program has ended by itself or by a signal.
func (p *Process) Wait() error {
	err := <-p.done
	p.done <- err
	return err
}

// Stop ends the program, gently for ten seconds.
func (p *Process) Stop() error {
	_ = p.Signal(syscall.SIGTERM) // it may have ended already
	select {
	case err := <-p.done:
		p.done <- err
		return nil
	case <-time.After(10 * time.Second):
		return p.cmd.Process.Kill()
	}
}

// FreePort returns a port on loopback that nobody listens on.
func FreePort(ctx context.Context) (string, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return strconv.Itoa(listener.Addr().(*net.TCPAddr).Port), listener.Close()
}

// eventually polls until done says so, for at most a minute, and says what it
// waited for where that is in vain.
func eventually(ctx context.Context, what string, done func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var last error
	for {
		ok, err := done(ctx)
		if ok {
			return nil
		}
		if err != nil && ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited in vain for %s: %w", what, errors.Join(ctx.Err(), last))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Pid returns the process ID.
func (p *Process) Pid() int { return p.cmd.Process.Pid }
