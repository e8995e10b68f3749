package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// writeTokens gives every user a token, and every component a kubeconfig.
func (c *cluster) writeTokens() error {
	var tokens strings.Builder
	all := users()
	for _, component := range slices.Sorted(maps.Keys(all)) {
		token, user := newToken(), all[component]
		fmt.Fprintf(&tokens, "%s,%s,%s,%q\n", token, user[0], component, strings.Join(user[1:], ","))
		text := kubeconfig("certificate-authority: /var/lib/kubernetes/apiserver.crt", token)
		if err := os.WriteFile(c.path(nodeFolder, component+".kubeconfig"), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return os.WriteFile(c.path(nodeFolder, "tokens.csv"), []byte(tokens.String()), 0o600)
}

func kubeconfig(authority, token string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Config
clusters:
- name: e2e
  cluster:
    server: %s
    %s
users:
- name: e2e
  user:
    token: %s
contexts:
- name: e2e
  context:
    cluster: e2e
    user: e2e
current-context: e2e
`, apiServer, authority, token)
}

// writeKubeconfig writes the administrator's, when the API server is ready.
func (c *cluster) writeKubeconfig(ctx context.Context) error {
	certificate, err := os.ReadFile(c.path(libFolder, "kubernetes", "apiserver.crt"))
	if err != nil {
		return err
	}
	text, err := os.ReadFile(c.path(nodeFolder, "admin.kubeconfig"))
	if err != nil {
		return err
	}
	_, token, _ := strings.Cut(string(text), "token: ")
	token, _, _ = strings.Cut(token, "\n")
	authority := "certificate-authority-data: " + base64.StdEncoding.EncodeToString(certificate)
	if err := os.WriteFile(c.kubeconfig(), []byte(kubeconfig(authority, token)), 0o600); err != nil {
		return err
	}
	if out, err := c.kubectl(ctx, "get", "--raw=/readyz"); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

func (c *cluster) kubectl(ctx context.Context, args ...string) (string, error) {
	args = append([]string{"--kubeconfig=" + c.kubeconfig(), "--cache-dir=" + c.path("kubectl-cache")}, args...)
	out, err := exec.CommandContext(ctx, filepath.Join(c.programs, "kubectl"), args...).CombinedOutput()
	return string(out), err
}
