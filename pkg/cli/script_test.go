package cli_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/cli"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"kubectl-s3_tls": func() {
			os.Exit(cli.Run(context.Background(), os.Args[1:], cli.Streams{
				In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Color: os.Getenv("COLOR") != "",
				Now: func() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) },
			}))
		},
	})
}

// Each script is one thing that users do, with all that they see.
func TestScripts(t *testing.T) {
	servers := startServers(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", UpdateScripts: os.Getenv("UPDATE_SCRIPTS") != "",
		Setup: func(env *testscript.Env) error {
			for name, value := range servers {
				env.Setenv(name, value)
			}
			return nil
		},
	})
}

func TestExitStatus(t *testing.T) {
	const pod = `{apiVersion: v1, kind: Pod, metadata: {annotations: {s3-tls/inject: %s}}, spec: {containers: [{name: a, image: b}]}}`
	tests := map[string]struct {
		stdin string
		args  []string
		want  int
	}{
		"fine":              {strings.ReplaceAll(pod, "%s", `"true"`), []string{"inject", "-f", "-"}, cli.ExitOK},
		"refused":           {strings.ReplaceAll(pod, "%s", `"yes"`), []string{"inject", "-f", "-"}, cli.ExitFindings},
		"refused, -o patch": {strings.ReplaceAll(pod, "%s", `"yes"`), []string{"inject", "-f", "-", "-o", "patch"}, cli.ExitFindings},
		"refused, explain":  {strings.ReplaceAll(pod, "%s", `"yes"`), []string{"explain", "-f", "-"}, cli.ExitFindings},
		"cannot be read":    {strings.ReplaceAll(pod, "%s", "true"), []string{"inject", "-f", "-"}, cli.ExitError},
		"no such flag":      {"", []string{"inject", "--nonsense"}, cli.ExitError},
		"no such command":   {"", []string{"nonsense"}, cli.ExitError},
		"no such policy":    {"", []string{"inject", "-f", "-", "--policy", "missing"}, cli.ExitError},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got, _, stderr := run(tt.stdin, tt.args...); got != tt.want {
				t.Errorf("exit status %d, want %d; stderr %s", got, tt.want, stderr)
			}
		})
	}
}
