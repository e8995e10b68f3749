package cli

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/kustomize/kyaml/kio"
	"sigs.k8s.io/kustomize/kyaml/kio/kioutil"
	"sigs.k8s.io/kustomize/kyaml/yaml"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/api/v1alpha1"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/inject"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/manifest"
)

func newKRM(streams Streams) *cobra.Command {
	return &cobra.Command{
		Use:   "krm",
		Short: "Inject as a KRM function of kustomize or kpt",
		Long: `Inject as a KRM function: read a ResourceList from standard input, and write it with the injection made.
The program does so by itself where it is run without arguments and a ResourceList is piped to it, as kustomize does.

The functionConfig is an InjectionPolicy, or a ConfigMap whose data are flags of inject: namespace,
namespace-label, namespace-annotation, exempt-namespace; several values stand on lines of their own. Policies and
Namespaces among the items count too.`,
		Example: `  # In a kustomization, with transformers: [s3-tls.yaml]
  kustomize build --enable-alpha-plugins --enable-exec .

  # With kpt
  kpt fn eval manifests --exec "kubectl-s3_tls krm" -- namespace-label=s3-tls/inject=true`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("there is no argument %q; the input is a ResourceList on standard input", args[0])
			}
			return nil
		},
		RunE: func(*cobra.Command, []string) error { return runKRM(streams) },
	}
}

// functionArgs returns the arguments of the function where a ResourceList is piped to the program without
// arguments, as kustomize calls it.
func functionArgs(streams *Streams) []string {
	const enough = 64 << 10 // bytes; apiVersion and kind stand at the beginning, or behind the items
	reader := bufio.NewReaderSize(streams.In, enough)
	beginning, err := reader.Peek(enough)
	streams.In = reader
	if err != nil && !errors.Is(err, io.EOF) || !bytes.Contains(beginning, []byte("ResourceList")) {
		return nil
	}
	return []string{"krm"}
}

// result is an entry of a ResourceList's results.
type result struct {
	Message     string            `yaml:"message"`
	Severity    string            `yaml:"severity"`
	ResourceRef map[string]string `yaml:"resourceRef"`
	File        map[string]string `yaml:"file,omitempty"`
}

// runKRM is one run of the function.
func runKRM(streams Streams) error {
	rw := &kio.ByteReadWriter{Reader: streams.In, Writer: streams.Out, KeepReaderAnnotations: true}
	items, err := rw.Read()
	if err != nil {
		return fmt.Errorf("read a ResourceList: %w", err)
	}
	in, extra, err := configured(rw.FunctionConfig)
	if err != nil {
		return err
	}
	documents, err := documentsOf(items)
	if err != nil {
		return err
	}
	a, err := in.decideAbout(documents, extra, streams)
	if err != nil {
		return err
	}
	edited, err := a.edit()
	if err != nil {
		return err
	}
	for i := range edited {
		if len(a.ops(edited[i].Document)) == 0 {
			continue
		}
		if items[i], err = yaml.Parse(string(edited[i].after)); err != nil {
			return fmt.Errorf("%s: %w", edited[i].File, err)
		}
	}
	if rw.Results, err = a.results(); err != nil {
		return err
	}
	a.report(streams.Err)
	if err := rw.Write(items); err != nil {
		return err
	}
	if a.refused() {
		return errRefused
	}
	return nil
}

// configured reads the functionConfig: what flags say otherwise, and a policy.
func configured(config *yaml.RNode) (*input, []*manifest.Document, error) {
	in := &input{namespace: "default"}
	if config.IsNilOrEmpty() {
		return in, nil, nil
	}
	switch config.GetKind() {
	case v1alpha1.PolicyKind:
		text, err := config.String()
		if err != nil {
			return nil, nil, err
		}
		policy, err := manifest.Parse("functionConfig", []byte(text))
		return in, policy, err
	case "ConfigMap":
		for key, value := range config.GetDataMap() {
			if err := in.set(key, value); err != nil {
				return nil, nil, err
			}
		}
		return in, nil, nil
	}
	return nil, nil, fmt.Errorf("a functionConfig of kind %q; it takes a ConfigMap or an %s", config.GetKind(), v1alpha1.PolicyKind)
}

// set is a flag by its name.
func (i *input) set(key, value string) error {
	lines := strings.Split(strings.TrimSpace(value), "\n")
	switch key {
	case "namespace":
		i.namespace = value
	case "namespace-label":
		i.namespaceLabels = lines
	case "namespace-annotation":
		i.namespaceNotes = lines
	case "exempt-namespace":
		i.exemptNamespaces = lines
	default:
		return fmt.Errorf("functionConfig: there is no %q; it takes namespace, namespace-label, namespace-annotation and exempt-namespace", key)
	}
	return nil
}

// documentsOf makes a document of each item, named after the file that it is from.
func documentsOf(items []*yaml.RNode) ([]*manifest.Document, error) {
	var documents []*manifest.Document
	for n, item := range items {
		text, err := item.String()
		if err != nil {
			return nil, err
		}
		annotations := item.GetAnnotations()
		file := cmp.Or(annotations[kioutil.PathAnnotation], annotations[kioutil.LegacyPathAnnotation], "items") //nolint:staticcheck // kpt writes both
		parsed, err := manifest.Parse(file, []byte(text))
		if err != nil {
			return nil, err
		}
		if len(parsed) != 1 {
			return nil, errors.New("an item that is no object")
		}
		parsed[0].Number = n + 1
		if index, err := strconv.Atoi(annotations[kioutil.IndexAnnotation]); err == nil && file != "items" {
			parsed[0].Number = index + 1
		}
		documents = append(documents, parsed[0])
	}
	return documents, nil
}

// results are warnings and refusals, for who runs the function.
func (a *answers) results() (*yaml.RNode, error) {
	var all []result
	for _, it := range a.items {
		add := func(severity, message string) {
			r := result{Message: message, Severity: severity, ResourceRef: map[string]string{"kind": it.Kind, "name": it.Name, "namespace": it.namespace.Name}}
			if it.Document.File != "items" {
				r.File = map[string]string{"path": it.Document.File}
			}
			all = append(all, r)
		}
		if it.result.Decision == inject.Refused {
			add("error", it.reason())
		}
		for _, warning := range it.warnings() {
			add("warning", warning)
		}
	}
	if len(all) == 0 {
		return nil, nil
	}
	var b bytes.Buffer
	if err := yaml.NewEncoder(&b).Encode(all); err != nil {
		return nil, err
	}
	return yaml.Parse(b.String())
}
