package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/api/v1alpha1"
)

// errUsage marks wrong flags.
var errUsage = errors.New("see --help")

// options configure the process. What is injected is configured by
// annotations, labels and policies.
type options struct {
	host             string
	port             int
	healthAddress    string
	metricsAddress   string
	certDir          string
	exemptNamespaces []string
	logLevel         string
	logFormat        string
	drain            time.Duration
	standalone       bool
	kubeconfig       string
	policies         bool
	caNames          []string
	events           bool
	rotation         bool
	rotationPods     int
	rotationReady    time.Duration
	serviceName      string
	servicePort      int32
	// podNamespace is the process's own.
	podNamespace string
}

const help = `s3-tls-injector adds the CA of an S3 storage to pods that opted in.

It serves POST ` + "/mutate/pods" + ` to the API server over TLS 1.3.

Examples:
  # In a cluster, with the certificate that cert-manager issued
  s3-tls-injector --cert-dir=/certs

  # Without any access to the Kubernetes API: only pod annotations decide
  s3-tls-injector --cert-dir=/certs --standalone

Flags:
`

func parseOptions(args []string, stderr io.Writer) (*options, error) {
	o := &options{}
	flags := pflag.NewFlagSet("s3-tls-injector", pflag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.SortFlags = false
	flags.Usage = func() { fmt.Fprint(stderr, help, flags.FlagUsages()) }
	flags.StringVar(&o.host, "host", "", "address to serve reviews on; empty: every address")
	flags.IntVar(&o.port, "port", 9443, "port to serve reviews on")
	flags.StringVar(&o.healthAddress, "health-address", ":8081", "address of /healthz and /readyz")
	flags.StringVar(&o.metricsAddress, "metrics-address", ":8080", `address of /metrics; "0" serves none`)
	flags.StringVar(&o.certDir, "cert-dir", "/certs", "folder with tls.crt and tls.key, and ca.crt for --policies; read again when they change")
	flags.StringArrayVar(&o.exemptNamespaces, "exempt-namespace", nil, "namespace whose pods are never injected, beside kube-system, kube-public, kube-node-lease and the injector's own (repeatable)")
	flags.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error")
	flags.StringVar(&o.logFormat, "log-format", "text", "text or json")
	flags.DurationVar(&o.drain, "drain", 10*time.Second, "how long to go on serving after SIGTERM, unready")
	flags.BoolVar(&o.standalone, "standalone", false, "use no Kubernetes API: only pod annotations decide")
	flags.BoolVar(&o.policies, "policies", false, "serve InjectionPolicies: needs their CRD, and the rights to read them and to write their webhook entries")
	flags.StringArrayVar(&o.caNames, "ca-name", []string{v1alpha1.DefaultSecret}, `name of the Secrets and ConfigMaps that hold CAs, which it may get, list and watch; "" reads none but those of policies (repeatable)`)
	flags.BoolVar(&o.events, "events", true, "tell warnings and refusals as events of a pod's controller: needs the right to create events")
	flags.BoolVar(&o.rotation, "rotation", false, "count pods whose CA has changed, and replace those that ask for it: needs the rights to watch pods and to evict them")
	flags.IntVar(&o.rotationPods, "rotation-pods", 5, "how many pods may be in replacement in the whole cluster")
	flags.DurationVar(&o.rotationReady, "rotation-ready", 10*time.Minute, "how long a new pod may take to be ready before no other one of its workload is replaced")
	flags.StringVar(&o.serviceName, "service-name", "s3-tls-injector", "Service by which the API server reaches the entries of policies, in the injector's own namespace")
	flags.Int32Var(&o.servicePort, "service-port", 443, "port of that Service")
	flags.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig file; in-cluster configuration where empty")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return nil, err
		}
		return nil, fmt.Errorf("%w; %w", err, errUsage)
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("there is no argument %q; %w", flags.Arg(0), errUsage)
	}
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("%w; %w", err, errUsage)
	}
	return o, nil
}

func (o *options) validate() error {
	var level slog.Level
	switch {
	case o.port < 1 || o.port > 65535:
		return fmt.Errorf("--port %d is no port", o.port)
	case o.certDir == "":
		return errors.New("--cert-dir is empty")
	case level.UnmarshalText([]byte(o.logLevel)) != nil:
		return fmt.Errorf("--log-level %q is none of debug, info, warn, error", o.logLevel)
	case o.logFormat != "text" && o.logFormat != "json":
		return fmt.Errorf(`--log-format %q is neither "text" nor "json"`, o.logFormat)
	case o.drain < 0:
		return fmt.Errorf("--drain %s is negative", o.drain)
	case o.standalone && o.kubeconfig != "":
		return errors.New("--standalone uses no --kubeconfig")
	case o.standalone && o.policies:
		return errors.New("--standalone serves no --policies: they are in the Kubernetes API")
	case o.standalone && o.rotation:
		return errors.New("--standalone has no --rotation: pods are in the Kubernetes API")
	case o.rotationPods < 1:
		return fmt.Errorf("--rotation-pods %d is less than 1", o.rotationPods)
	case o.rotationReady <= 0:
		return fmt.Errorf("--rotation-ready %s is no time", o.rotationReady)
	case len(validation.IsDNS1035Label(o.serviceName)) > 0:
		return fmt.Errorf("--service-name %q is no valid name of a Service", o.serviceName)
	case o.servicePort < 1 || o.servicePort > 65535:
		return fmt.Errorf("--service-port %d is no port", o.servicePort)
	}
	for flag, names := range map[string][]string{"--exempt-namespace": o.exemptNamespaces, "--ca-name": o.caNames} {
		for _, name := range names {
			if name == "" && flag == "--ca-name" {
				continue
			}
			if len(validation.IsDNS1123Subdomain(name)) > 0 {
				return fmt.Errorf("%q is no valid name for %s", name, flag)
			}
		}
	}
	return nil
}

func newLogger(o *options, w io.Writer) logr.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(o.logLevel)) // validated
	handlerOptions := &slog.HandlerOptions{Level: level}
	if o.logFormat == "json" {
		return logr.FromSlogHandler(slog.NewJSONHandler(w, handlerOptions))
	}
	return logr.FromSlogHandler(slog.NewTextHandler(w, handlerOptions))
}
