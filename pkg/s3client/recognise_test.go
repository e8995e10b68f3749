package s3client_test

import (
	"testing"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/s3client"
)

// The outcomes for real manifests are in the core's testdata/pods; here are the
// ways to write a command.
func TestIsClient(t *testing.T) {
	thanos := func(args ...string) s3client.Container { return s3client.Container{Image: "thanos", Args: args} }
	command := func(image string, command ...string) s3client.Container {
		return s3client.Container{Image: image, Command: command}
	}
	sh := func(image, script string, args ...string) s3client.Container {
		return s3client.Container{Image: image, Command: []string{"sh", "-c", script}, Args: args}
	}
	tests := map[string]struct {
		container s3client.Container
		label     string
		want      bool
	}{
		"registry with port and digest":            {command("registry.corp:5000/mirror/thanos:v1@sha256:00", "thanos", "store"), "", true},
		"no tag, no registry":                      {thanos("store"), "", true},
		"name is part of another":                  {s3client.Container{Image: "thanos-operator", Args: []string{"store"}}, "", false},
		"distribution":                             {s3client.Container{Image: "bitnami/grafana-tempo:2"}, "", true},
		"registry named as a product":              {s3client.Container{Image: "thanos:5000/app"}, "", false},
		"global flag before the subcommand":        {thanos("--log.level=debug", "store"), "", true},
		"global flag and value before it":          {thanos("--log.level", "debug", "query"), "", false},
		"value that looks like a subcommand":       {thanos("--debug.name", "store", "query"), "", false},
		"flag and value":                           {thanos("sidecar", "--objstore.config-file", "/x"), "", true},
		"flag with an empty value":                 {thanos("sidecar", "--objstore.config="), "", false},
		"flag of replicate is not enough":          {thanos("rule", "--objstore-to.config=x"), "", false},
		"nested subcommand":                        {thanos("tools", "bucket", "web"), "", true},
		"global flag between nested subcommands":   {thanos("tools", "--log.level", "debug", "bucket", "web"), "", true},
		"other tool":                               {thanos("tools", "rules-check"), "", false},
		"older bucket":                             {thanos("bucket", "ls"), "", true},
		"unknown subcommand with the flag":         {thanos("parquet", "--objstore.config=x"), "", true},
		"unknown subcommand without":               {thanos("parquet"), "", false},
		"no arguments":                             {thanos(), "", false},
		"command in a foreign image":               {command("app", "/bin/thanos", "store"), "", true},
		"command query in a foreign image":         {command("app", "/bin/thanos", "query"), "", false},
		"another program in the product's image":   {command("thanos", "cp", "/bin/thanos", "/shared"), "", false},
		"a script file in the product's image":     {command("thanos", "/entrypoint.sh", "store"), "", true},
		"a wrapper in the product's image":         {command("thanos", "/launch", "store"), "", true},
		"a wrapper in a foreign image":             {command("app", "/sbin/tini", "--", "thanos", "compact"), "", true},
		"wrappers with operands":                   {command("app", "nice", "-n", "10", "timeout", "-k", "5", "60", "gosu", "nobody", "thanos", "store"), "", true},
		"environment before the program":           {command("app", "env", "-i", "A=b", "thanos", "store"), "", true},
		"flag in a foreign image":                  {s3client.Container{Image: "metrics:1", Args: []string{"store", "--objstore.config=x"}}, "", true},
		"flag of query in a foreign image":         {s3client.Container{Image: "metrics:1", Args: []string{"query", "--objstore.config=x"}}, "", false},
		"shell as arguments":                       {s3client.Container{Image: "app", Args: []string{"/bin/sh", "-ec", "thanos store"}}, "", true},
		"program as arguments":                     {s3client.Container{Image: "app", Args: []string{"thanos", "store"}}, "", true},
		"script":                                   {sh("app", "thanos store --data-dir=/x"), "", true},
		"script in the product's image":            {sh("thanos", "exec thanos query"), "", false},
		"script that does something else":          {sh("tempo", "chown -R 10001 /var/tempo"), "", false},
		"script of several lines":                  {sh("app", "set -e # thanos query\nA=1 B=2 \\\n  exec /bin/thanos store \\\n  --x\n"), "", true},
		"script with a name in two halves":         {sh("app", "tha\\\nnos store"), "", false},
		"script with conditions":                   {sh("app", "if test -f /x; then thanos store; else sleep 1; fi"), "", true},
		"script with expansions":                   {sh("app", "thanos sidecar --x=$(hostname -f) --objstore.config=\"$(cat /x)\""), "", true},
		"script with quotes":                       {sh("app", "'thanos' \"store\""), "", true},
		"script that prints the command":           {sh("app", "echo 'thanos store'"), "", false},
		"script with a comment":                    {sh("app", "sleep 1 # thanos store"), "", false},
		"script that calls a shell":                {sh("app", "bash -c 'thanos store'"), "", true},
		"script with the arguments behind it":      {sh("app", `exec thanos "$@"`, "--", "store"), "", true},
		"script that runs its arguments":           {sh("app", `exec "$@"`, "--", "thanos", "store"), "", true},
		"command and args put together":            {s3client.Container{Image: "app", Command: []string{"sh", "-c"}, Args: []string{"thanos store"}}, "", true},
		"shell without a script":                   {command("app", "sh", "-c"), "", false},
		"shell with a script file":                 {command("thanos", "sh", "/run.sh", "store"), "", true},
		"quote that is never closed":               {sh("app", "thanos store 'x"), "", true},
		"target and value":                         {command("loki", "loki", "-target", "distributor"), "", false},
		"target with two dashes":                   {command("loki", "loki", "--target=query-frontend"), "", false},
		"targets, one of them a client":            {command("loki", "loki", "-target=distributor,ingester"), "", true},
		"targets, none of them a client":           {command("loki", "loki", "-target=distributor,query-frontend"), "", false},
		"target given twice, the last counts":      {command("loki", "loki", "-target=ingester", "-target=distributor"), "", false},
		"target from the environment":              {command("loki", "loki", "-target=$(TARGET)"), "", true},
		"every Tempo target":                       {command("grafana/tempo", "/tempo", "-target=distributor"), "", true},
		"Mimir in a foreign image":                 {command("app", "/bin/mimir", "-target=query-scheduler"), "", false},
		"companion with the label":                 {s3client.Container{Image: "tempo-query", Args: []string{"-config.file=/x"}}, "tempo", false},
		"label with the product's arguments":       {s3client.Container{Image: "app", Args: []string{"-config.file=/x"}}, "tempo", true},
		"label with the arguments of a Prometheus": {s3client.Container{Image: "prom/prometheus", Args: []string{"--config.file=/x"}}, "loki", false},
		"label with other arguments":               {s3client.Container{Image: "app", Args: []string{"-config=/x"}}, "tempo", false},
		"label with a target that is no client":    {s3client.Container{Image: "app", Args: []string{"-target=ui"}}, "loki", false},
		"label of another product":                 {s3client.Container{Image: "app", Args: []string{"-config.file=/x"}}, "prometheus", false},
		"label of Thanos with a subcommand":        {s3client.Container{Image: "app", Args: []string{"store"}}, "thanos", true},
		"label of Thanos with query":               {s3client.Container{Image: "app", Args: []string{"query"}}, "thanos", false},
		"data directory named as a product":        {command("busybox", "chown", "-R", "1", "/var/loki"), "", false},
		"init container that waits for a product":  {sh("busybox", "until nc -z loki 3100; do sleep 1; done"), "", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := s3client.IsClient(tt.container, tt.label); got != tt.want {
				t.Errorf("%+v: %v, want %v", tt.container, got, tt.want)
			}
		})
	}
}

func TestPatternMatches(t *testing.T) {
	tests := map[string]struct {
		pattern   s3client.Pattern
		container s3client.Container
		want      bool
	}{
		"end of the repository":           {s3client.Pattern{Image: "minio/mc"}, s3client.Container{Image: "registry:5000/mirror/minio/mc:1@sha256:0"}, true},
		"whole elements only":             {s3client.Pattern{Image: "mc"}, s3client.Container{Image: "minio/xmc"}, false},
		"more than the image has":         {s3client.Pattern{Image: "minio/mc"}, s3client.Container{Image: "mc"}, false},
		"argument":                        {s3client.Pattern{Image: "mc", Args: []string{"mirror"}}, s3client.Container{Image: "mc", Args: []string{"--quiet", "mirror", "a", "b"}}, true},
		"argument missing":                {s3client.Pattern{Image: "mc", Args: []string{"mirror"}}, s3client.Container{Image: "mc", Args: []string{"ls"}}, false},
		"all arguments":                   {s3client.Pattern{Image: "mc", Args: []string{"mirror", "--watch"}}, s3client.Container{Image: "mc", Args: []string{"mirror", "--watch=true"}}, true},
		"argument in a script":            {s3client.Pattern{Image: "mc", Args: []string{"mirror"}}, s3client.Container{Image: "mc", Command: []string{"sh", "-c", "sleep 1; mc mirror a b"}}, true},
		"argument without a command":      {s3client.Pattern{Image: "mc", Args: []string{"mirror"}}, s3client.Container{Image: "mc"}, false},
		"word is not the name of a value": {s3client.Pattern{Image: "mc", Args: []string{"mirror"}}, s3client.Container{Image: "mc", Args: []string{"mirror=x"}}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := tt.pattern.Matches(tt.container); got != tt.want {
				t.Errorf("%v, want %v", got, tt.want)
			}
		})
	}
}

func TestIsHelper(t *testing.T) {
	tests := map[string]struct {
		container s3client.Container
		want      bool
	}{
		"by image":                  {s3client.Container{Name: "x", Image: "docker.io/istio/proxyv2:1.27.1"}, true},
		"by name, image mirrored":   {s3client.Container{Name: "istio-proxy", Image: "registry.corp/mesh:1"}, true},
		"agent of a server's image": {s3client.Container{Image: "hashicorp/vault", Args: []string{"agent"}}, true},
		"the server itself":         {s3client.Container{Image: "hashicorp/vault", Args: []string{"server"}}, false},
		"another proxy image":       {s3client.Container{Image: "corp/proxy"}, false},
		"Linkerd's":                 {s3client.Container{Image: "cr.l5d.io/linkerd/proxy:edge"}, true},
		"an application":            {s3client.Container{Name: "app", Image: "app"}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := s3client.IsHelper(tt.container); got != tt.want {
				t.Errorf("%v, want %v", got, tt.want)
			}
		})
	}
}
