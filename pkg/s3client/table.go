package s3client

// need says when a subcommand of a program talks to the object store.
type need int

const (
	never need = iota
	withObjstoreFlag
	always
)

// product is a row of the table: a program that keeps its data in S3, how it is
// recognised and when it is a client.
type product struct {
	name string
	// images are the last path elements of the images that run it, the
	// product's own name among them.
	images []string
	// companions are images of the same project that never talk to the object store.
	companions []string
	// executables are the base names of its program files.
	executables []string
	// subcommands, for a program that is driven by them. A nested one is written
	// as "tools bucket". One that is not here is a client with an objstore flag.
	subcommands map[string]need
	// singletons are the subcommands of which two must never run on one bucket.
	singletons []string
	// nonClientTargets, for a program that is driven by -target: parts that do not
	// keep data in the object store. No -target is "all", which does.
	nonClientTargets []string
}

// objstoreFlags configure the object store of a program that is driven by
// subcommands. They are evidence by themselves: no other program has them.
var objstoreFlags = []string{"objstore.config", "objstore.config-file"} //nolint:gochecknoglobals // part of the table

// globalValueFlags take a value and may stand before the subcommand, so that
// the word after one of them is not the subcommand.
var globalValueFlags = []string{ //nolint:gochecknoglobals // part of the table
	"log.level", "log.format", "debug.name", "tracing.config", "tracing.config-file", "auto-gomemlimit.ratio",
}

// targetFlag chooses the parts of a program that is driven by targets.
const targetFlag = "target"

// ownFlags tell a program that is driven by targets from others in a pod whose
// label names the product. They are written with one dash, which a Prometheus
// or Alertmanager beside it does not take.
var ownFlags = []string{"config.file", targetFlag} //nolint:gochecknoglobals // part of the table

// products is the table of S3 clients. Recognition and the CEL expressions of
// the webhook entries are both made from it.
var products = []product{ //nolint:gochecknoglobals // the table is data, in one place
	{
		name:        "thanos",
		images:      []string{"thanos", "thanos-rhel8", "thanos-rhel9", "ose-thanos", "ose-thanos-rhel8", "ose-thanos-rhel9", "origin-thanos", "mirrored-thanos-thanos"},
		executables: []string{"thanos"},
		subcommands: map[string]need{
			"store": always, "compact": always, "downsample": always, "bucket": always, "tools bucket": always,
			"sidecar": withObjstoreFlag, "receive": withObjstoreFlag, "rule": withObjstoreFlag,
			"query": never, "query-frontend": never, "check": never, "tools": never,
		},
		singletons: []string{"compact"},
	},
	{
		name:        "tempo",
		images:      []string{"tempo", "grafana-tempo", "tempo-rhel8", "tempo-rhel9", "mirrored-grafana-tempo", "enterprise-traces"},
		companions:  []string{"tempo-query", "tempo-vulture", "tempo-cli", "grafana-tempo-query", "grafana-tempo-vulture"},
		executables: []string{"tempo", "enterprise-traces"},
	},
	{
		name:        "loki",
		images:      []string{"loki", "grafana-loki", "logging-loki-rhel8", "logging-loki-rhel9", "mirrored-grafana-loki", "enterprise-logs"},
		companions:  []string{"loki-canary", "logcli", "lokitool", "promtail"},
		executables: []string{"loki", "enterprise-logs"},
		nonClientTargets: []string{
			"distributor", "query-scheduler", "query-frontend", "pattern-ingester", "overrides-exporter",
			"ingest-limits", "ingest-limits-frontend", "ui",
		},
	},
	{
		name:        "mimir",
		images:      []string{"mimir", "grafana-mimir", "mirrored-grafana-mimir", "enterprise-metrics"},
		companions:  []string{"mimirtool", "mimir-continuous-test", "query-tee", "metaconvert"},
		executables: []string{"mimir", "enterprise-metrics"},
		nonClientTargets: []string{
			"distributor", "query-scheduler", "query-frontend", "overrides-exporter",
			"block-builder-scheduler", "continuous-test",
		},
	},
	{
		name:             "cortex",
		images:           []string{"cortex"},
		executables:      []string{"cortex"},
		nonClientTargets: []string{"distributor", "query-scheduler", "query-frontend", "configs", "overrides-exporter"},
	},
	{
		name:        "pyroscope",
		images:      []string{"pyroscope", "grafana-pyroscope", "phlare", "enterprise-profiles"},
		companions:  []string{"profilecli"},
		executables: []string{"pyroscope", "phlare", "enterprise-profiles"},
	},
}

// helpers are left out where a pod opted in and no S3 client is recognised:
// service-mesh proxies, secret agents, config reloaders, auth proxies.
var helpers = []Pattern{ //nolint:gochecknoglobals // the table is data, in one place
	{Image: "proxyv2"},
	{Image: "istio/pilot"},
	{Image: "ztunnel"},
	{Image: "linkerd/proxy"},
	{Image: "linkerd2-proxy"},
	{Image: "proxy-init"},
	{Image: "envoy"},
	{Image: "consul-dataplane"},
	{Image: "consul-k8s-control-plane"},
	{Image: "cilium-envoy"},
	{Image: "daprd"},
	{Image: "consul", Args: []string{"agent"}},
	{Image: "kuma-dp"},
	{Image: "kuma-sidecar"},
	{Image: "osm-init"},
	{Image: "aws-appmesh-envoy"},
	{Image: "vault", Args: []string{"agent"}},
	{Image: "vault", Args: []string{"proxy"}},
	{Image: "vault-agent"},
	{Image: "openbao", Args: []string{"agent"}},
	{Image: "vault-env"},
	{Image: "conjur-authn-k8s-client"},
	{Image: "secretless-broker"},
	{Image: "secrets-provider-for-k8s"},
	{Image: "prometheus-config-reloader"},
	{Image: "configmap-reload"},
	{Image: "k8s-sidecar"},
	{Image: "git-sync"},
	{Image: "oauth2-proxy"},
	{Image: "oauth-proxy"},
	{Image: "origin-oauth-proxy"},
	{Image: "ose-oauth-proxy"},
	{Image: "ose-oauth-proxy-rhel9"},
	{Image: "kube-rbac-proxy"},
	{Image: "ose-kube-rbac-proxy"},
	{Image: "ose-kube-rbac-proxy-rhel9"},
	{Image: "gatekeeper-proxy"},
	{Image: "gogatekeeper/gatekeeper"},
	{Image: "pomerium"},
	{Image: "authelia"},
	{Image: "keycloak-gatekeeper"},
	{Image: "louketo-proxy"},
	{Image: "prom-label-proxy"},
	{Image: "opa-openshift"},
	{Image: "observatorium/api"},
}

// helperNames are the container names that injectors and charts give to the
// same helpers; they hold where the image is a mirror with a name of its own.
var helperNames = []string{ //nolint:gochecknoglobals // the table is data, in one place
	"istio-proxy", "linkerd-proxy", "consul-dataplane", "envoy-sidecar", "kuma-sidecar",
	"vault-agent", "bank-vaults", "config-reloader", "configmap-reload", "rules-configmap-reloader",
	"oauth2-proxy", "oauth-proxy", "kube-rbac-proxy",
}
