package cli

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/doctor/collect"
)

// access holds kubectl's flags that say which cluster is meant, and how to reach it.
type access struct {
	*genericclioptions.ConfigFlags

	timeout time.Duration
}

// newAccess returns the flags of kubectl that people use; there are many more.
func newAccess() *access {
	all := genericclioptions.NewConfigFlags(true)
	return &access{ConfigFlags: &genericclioptions.ConfigFlags{
		KubeConfig: all.KubeConfig, Context: all.Context, ClusterName: all.ClusterName, AuthInfoName: all.AuthInfoName,
		Impersonate: all.Impersonate, ImpersonateGroup: all.ImpersonateGroup, Timeout: all.Timeout, Namespace: all.Namespace,
	}}
}

func (a *access) addFlags(flags *pflag.FlagSet) {
	a.AddFlags(flags)
	flags.DurationVar(&a.timeout, "timeout", 10*time.Second, "how long an endpoint may take to answer")
}

// namespace returns that of -n, or of the kubeconfig's context.
func (a *access) namespace() (string, error) {
	namespace, _, err := a.ToRawKubeConfigLoader().Namespace()
	return namespace, err
}

// collector returns one that reads the cluster as the user.
func (a *access) collector(streams Streams) (*collect.Collector, error) {
	config, err := a.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	config.QPS, config.Burst = 100, 200
	config.WarningHandler = rest.NoWarnings{} // what is said of the pod of a dry run concerns nobody
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return &collect.Collector{
		Client: client, Dynamic: objects, Now: streams.Now, Timeout: a.timeout,
		Progress: func(format string, args ...any) { fmt.Fprintf(streams.Err, "# "+format+"\n", args...) },
	}, nil
}

// parseTarget reads POD or TYPE/NAME. Types may be written as kubectl takes them: sts/thanos-store.
func parseTarget(args []string) (kind, name string, err error) {
	switch len(args) {
	case 0:
		return "", "", nil
	case 2:
		if strings.Contains(args[0], "/") {
			return "", "", errors.New("name one object, as POD or TYPE/NAME")
		}
		args = []string{args[0] + "/" + args[1]}
	case 1:
	default:
		return "", "", errors.New("name one object, as POD or TYPE/NAME")
	}
	given, name, typed := strings.Cut(args[0], "/")
	if !typed {
		return "Pod", args[0], nil
	}
	short := map[string]string{"po": "Pod", "deploy": "Deployment", "sts": "StatefulSet", "ds": "DaemonSet", "rs": "ReplicaSet", "cj": "CronJob"}
	given, _, _ = strings.Cut(strings.ToLower(given), ".") // statefulset.apps
	for _, kind := range collect.Kinds() {
		if word := strings.ToLower(kind); (given == word || given == word+"s" || short[given] == kind) && name != "" {
			return kind, name, nil
		}
	}
	return "", "", fmt.Errorf("%q is none of %s; name it as TYPE/NAME", args[0], strings.ToLower(strings.Join(collect.Kinds(), ", ")))
}

// completePods completes names of pods of the namespace.
func (a *access) completePods(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 || strings.Contains(toComplete, "/") {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names, err := a.pods(cmd)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	slices.Sort(names)
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (a *access) pods(cmd *cobra.Command) ([]string, error) {
	namespace, err := a.namespace()
	if err != nil {
		return nil, err
	}
	collector, err := a.collector(Streams{Err: io.Discard})
	if err != nil {
		return nil, err
	}
	list, err := collector.Client.CoreV1().Pods(namespace).List(cmd.Context(), metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	var names []string
	for i := range list.Items {
		names = append(names, list.Items[i].Name)
	}
	return names, nil
}

// choose narrows a scope to the namespace and the labels that flags choose.
func (a *access) choose(scope *collect.Scope, allNamespaces bool, selector string) error {
	var err error
	if selector != "" {
		if scope.Selector, err = labels.Parse(selector); err != nil {
			return fmt.Errorf("-l %q: %w", selector, err)
		}
	}
	if !allNamespaces {
		scope.Namespace, err = a.namespace()
	}
	return err
}
