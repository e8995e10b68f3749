package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// needed are the programs that are not built from modules, with the Debian
// packages that hold them.
var needed = []struct{ program, pkg string }{
	{"runc", "runc"},
	{"ip", "iproute2"},
	{"iptables", "iptables"},
	{"nft", "nftables"},
	{"conntrack", "conntrack"},
	{"mount", "mount"},
}

// checkHost tells what this machine lacks to run a node.
func checkHost() error {
	if os.Geteuid() != 0 {
		return errors.New("a node needs root: run it as root, or on kind with E2E_CLUSTER=kind")
	}
	if err := os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin"); err != nil { // a root shell may lack them
		return err
	}
	var missing []string
	for _, n := range needed {
		if _, err := exec.LookPath(n.program); err != nil {
			missing = append(missing, n.pkg)
		}
	}
	if _, err := cniPlugins(); err != nil {
		missing = append(missing, "containernetworking-plugins")
	}
	if len(missing) > 0 {
		return fmt.Errorf("programs are missing; install them: apt-get install --no-install-recommends %s", strings.Join(missing, " "))
	}
	return nil
}

func cniPlugins() (string, error) {
	for _, folder := range []string{"/usr/lib/cni", "/opt/cni/bin"} {
		if _, err := os.Stat(filepath.Join(folder, "ptp")); err == nil {
			return folder, nil
		}
	}
	return "", errors.New("no folder of CNI plugins")
}

// cgroupName is the node's part of every cgroup hierarchy, and the kubelet's
// cgroupRoot.
const cgroupName = "s3-tls-injector-e2e"

// hierarchies returns the root of every cgroup hierarchy that the kubelet uses:
// one with cgroup v2, one per controller with v1.
func hierarchies() ([]string, error) {
	const root = "/sys/fs/cgroup"
	if _, err := os.Stat(filepath.Join(root, "cgroup.controllers")); err == nil {
		return []string{root}, nil
	}
	roots, err := filepath.Glob(filepath.Join(root, "*"))
	if err == nil && len(roots) == 0 {
		err = fmt.Errorf("no cgroup hierarchy is mounted below %s", root)
	}
	return roots, err
}

func makeCgroups() error {
	roots, err := hierarchies()
	if err != nil {
		return err
	}
	if err := delegateControllers(roots[0]); err != nil {
		return err
	}
	for _, root := range roots {
		if err := os.MkdirAll(filepath.Join(root, cgroupName), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// delegateControllers lets the cgroups below a cgroup v2 root have what the
// kubelet asks of its own. With v1 there is nothing to do.
func delegateControllers(root string) error {
	available, err := os.ReadFile(filepath.Join(root, "cgroup.controllers"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for controller := range strings.FieldsSeq(string(available)) {
		if !slices.Contains([]string{"cpu", "cpuset", "memory", "hugetlb", "pids"}, controller) {
			continue
		}
		if err := os.WriteFile(filepath.Join(root, "cgroup.subtree_control"), []byte("+"+controller), 0); err != nil {
			return fmt.Errorf("delegate cgroup controller %s: %w", controller, err)
		}
	}
	return nil
}

// removeCgroups removes the node's cgroups, the innermost first. Their
// processes have ended.
func removeCgroups() error {
	roots, err := hierarchies()
	if err != nil {
		return err
	}
	for _, root := range roots {
		if err := removeCgroup(filepath.Join(root, cgroupName)); err != nil {
			return err
		}
	}
	return nil
}

func removeCgroup(path string) error {
	entries, err := os.ReadDir(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.IsDir() {
			if err := removeCgroup(filepath.Join(path, entry.Name())); err != nil {
				return err
			}
		}
	}
	return retry(func() error { return os.Remove(path) }) // busy until the last process is reaped
}
