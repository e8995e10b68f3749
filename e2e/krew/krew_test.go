// Package krew installs the tool with krew itself, from what hack/krew.sh makes.
package krew

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// run runs a program of the project's folder, and returns what it prints.
func run(t *testing.T, folder string, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir, cmd.Env = folder, append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// krew takes the manifest, holds the archive against its checksum, and kubectl then finds the tool.
// The same sources give the same archive.
func TestKrewInstallsTheTool(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("hack/krew.sh needs a shell")
	}
	const project = "../.."
	folder := t.TempDir()
	platform := []string{"PLATFORMS=" + runtime.GOOS + "/" + runtime.GOARCH}
	archive := "kubectl-s3_tls_" + runtime.GOOS + "_" + runtime.GOARCH + ".tar.gz"
	read := func(dist string) string {
		run(t, project, platform, "hack/krew.sh", filepath.Join(folder, dist), "v1.2.3")
		data, err := os.ReadFile(filepath.Join(folder, dist, archive))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	if read("dist") != read("again") {
		t.Error("two archives of the same sources differ")
	}
	program := filepath.Join(folder, "krew")
	run(t, filepath.Join(project, "hack", "programs", "krew"), []string{"CGO_ENABLED=0"}, "go", "build", "-o", program, "sigs.k8s.io/krew/cmd/krew")

	root := filepath.Join(folder, "root")
	env := []string{"KREW_ROOT=" + root, "KREW_NO_UPGRADE_CHECK=1", "HOME=" + folder, "PATH=" + filepath.Join(root, "bin") + string(os.PathListSeparator) + os.Getenv("PATH")}
	manifest, dist := filepath.Join(folder, "dist", "s3-tls.yaml"), filepath.Join(folder, "dist", archive)
	if out := run(t, folder, env, program, "install", "--no-update-index", "--manifest="+manifest, "--archive="+dist); !strings.Contains(out, "Installed plugin: s3-tls") {
		t.Errorf("krew says:\n%s", out)
	}
	if help := run(t, folder, env, filepath.Join(root, "bin", "kubectl-s3_tls"), "--help"); !strings.Contains(help, "kubectl s3-tls [command]") {
		t.Errorf("the tool prints:\n%s", help)
	}
	if version := run(t, folder, env, filepath.Join(root, "bin", "kubectl-s3_tls"), "--version"); version != "kubectl s3-tls version v1.2.3\n" {
		t.Errorf("the tool prints %q", version)
	}
	if assets := os.Getenv("S3_TLS_ASSETS"); assets != "" {
		if help := run(t, folder, env, filepath.Join(assets, "kubectl"), "s3-tls", "--help"); !strings.Contains(help, "kubectl s3-tls [command]") {
			t.Errorf("kubectl s3-tls --help prints:\n%s", help)
		}
	}

	changed := filepath.Join(folder, "changed.tar.gz")
	data, err := os.ReadFile(dist)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(changed, append(data, 0), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(root); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "install", "--no-update-index", "--manifest="+manifest, "--archive="+changed)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "checksum does not match") {
		t.Errorf("krew takes another archive than the manifest's: %v\n%s", err, out)
	}
}
