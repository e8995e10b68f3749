package cluster

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// kubectl runs kubectl and returns its standard output. It says what it waits for.
func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	if limit := limitOf(args); limit != "" {
		say(t, "waiting, at most %s, for kubectl %s", limit, strings.Join(args, " "))
	}
	out, err := runKubectl(t.Context(), "", args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// limitOf returns how long a kubectl waits at most; nothing where it does not wait.
func limitOf(args []string) string {
	for _, arg := range args {
		if limit, found := strings.CutPrefix(arg, "--timeout="); found {
			return limit
		}
	}
	return ""
}

// kubectlLimit ends a kubectl that waits for longer than its own flags say.
const kubectlLimit = 5 * time.Minute

func runKubectl(ctx context.Context, stdin string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, kubectlLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(assets, "kubectl"), args...)
	var out, errOut bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errOut
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, errOut.String())
	}
	return out.String(), nil
}

// portForward leads a port on loopback to one of a pod or Service, until the
// test ends, and returns its address.
func portForward(t *testing.T, namespace, target, port string) string {
	t.Helper()
	cmd := exec.Command(filepath.Join(assets, "kubectl"), "-n", namespace, "port-forward", target, ":"+port)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // where the test is killed
	if err := startOnThread(t, cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("kubectl port-forward %s in %s said: %s", target, namespace, &stderr)
		}
		_ = cmd.Process.Kill() // it may have ended already
		_ = cmd.Wait()
	})
	const limit = time.Minute
	say(t, "waiting for a port that leads to %s, at most %s", target, limit)
	late := time.AfterFunc(limit, func() { _ = cmd.Process.Kill() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	late.Stop()
	match := regexp.MustCompile(`127\.0\.0\.1:(\d+)`).FindStringSubmatch(line)
	if match == nil {
		t.Fatalf("kubectl port-forward %s: %q: %v: %s", target, line, err, &stderr)
	}
	return "localhost:" + match[1]
}

// startOnThread starts a program on a thread that lives as long as the test: the kernel
// ends the program with the thread that started it.
func startOnThread(t *testing.T, cmd *exec.Cmd) error {
	t.Helper()
	started := make(chan error)
	ended := t.Context().Done() // just before the clean-up
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		started <- cmd.Start()
		<-ended
	}()
	return <-started
}

// eventually calls until there is no error. It says what it waits for, and
// fails the test when the limit is over.
func eventually(t *testing.T, limit time.Duration, what string, call func(context.Context) error) {
	t.Helper()
	say(t, "waiting for %s, at most %s", what, limit)
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	var last error
	for {
		err := call(ctx)
		if err == nil {
			return
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			t.Fatalf("waited %s in vain for %s: %v", limit, what, last)
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// say prints at once what the test does; t.Log would wait for its end.
func say(t *testing.T, format string, args ...any) {
	t.Helper()
	fmt.Printf("# %s %s: %s\n", time.Now().Format("15:04:05"), t.Name(), fmt.Sprintf(format, args...))
}

// clean removes what an earlier run left of a test's namespace, and the namespace
// when the test is over; where it fails, it tells all about it instead.
func clean(t *testing.T, namespace string) {
	t.Helper()
	remove := []string{"delete", "namespace", namespace, "--ignore-not-found", "--timeout=2m"}
	kubectl(t, remove...) // what an earlier run left
	t.Cleanup(func() {
		if t.Failed() {
			inspect(t, namespace, injectorName)
			return
		}
		if _, err := runKubectl(context.Background(), "", append(remove, "--wait=false")...); err != nil {
			t.Error(err)
		}
	})
}

func apply(t *testing.T, manifest string) {
	t.Helper()
	say(t, "applying %s", manifest)
	kubectl(t, "apply", "-f", manifest)
}

// inspect prints what helps to see why a test failed.
func inspect(t *testing.T, namespaces ...string) {
	t.Helper()
	for _, namespace := range namespaces {
		inspectNamespace(t, namespace)
	}
}

func inspectNamespace(t *testing.T, namespace string) {
	t.Helper()
	for _, args := range [][]string{
		{"-n", namespace, "get", "pods", "-o", "wide"},
		{"-n", namespace, "get", "events", "--sort-by=.lastTimestamp"},
	} {
		out, err := runKubectl(context.Background(), "", args...)
		t.Logf("kubectl %s\n%s", strings.Join(args, " "), errors.Join(errors.New(out), err))
	}
	pods, err := runKubectl(context.Background(), "", "-n", namespace, "get", "pods", "-o", "name")
	if err != nil {
		t.Log(err)
	}
	for pod := range strings.FieldsSeq(pods) {
		out, err := runKubectl(context.Background(), "", "-n", namespace, "logs", pod, "--all-containers", "--prefix", "--tail=25")
		t.Logf("the end of the logs of %s\n%s", pod, errors.Join(errors.New(out), err))
	}
}
