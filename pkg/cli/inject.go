package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	"gomodules.xyz/jsonpatch/v2"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/inject"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/manifest"
)

func newInject(streams Streams) *cobra.Command {
	in, output := &input{}, "yaml"
	cmd := &cobra.Command{
		Use:   "inject -f FILE|DIR|-",
		Short: "Print manifests with the injection made",
		Long: `Print manifests with the injection made, as the webhook would make it.

The manifests go to standard output, comments and layout as they were. One line
for each pod template, and each warning, goes to standard error. Exit status: 0,
1 where a manifest is refused, 2 where one cannot be read.`,
		Example: `  # What would the webhook add?
  kubectl s3-tls inject -f thanos.yaml -o diff

  # Without a webhook, as if the namespace were labelled
  helm template thanos bitnami/thanos | kubectl s3-tls inject -f - --namespace-label s3-tls/inject=true | kubectl apply -f -

  # A folder, with a policy
  kubectl s3-tls inject -f manifests/ --policy policy.yaml`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error { return runInject(in, output, streams) },
	}
	in.addFlags(cmd.Flags())
	cmd.Flags().StringVarP(&output, "output", "o", output, "yaml, json, patch or diff")
	return cmd
}

func runInject(in *input, output string, streams Streams) error {
	formats := map[string]func(*answers, Streams) ([]byte, error){
		"yaml": printYAML, "json": printJSON, "patch": printPatch, "diff": printDiff,
	}
	format, ok := formats[output]
	if !ok {
		return fmt.Errorf("-o %q is none of yaml, json, patch, diff", output)
	}
	a, err := in.decide(streams)
	if err != nil {
		return err
	}
	// Printed only when it is complete: half a stream must not reach kubectl apply.
	text, err := format(a, streams)
	if err != nil {
		return err
	}
	if len(a.items) == 0 {
		a.notes = append(a.notes, noTemplates)
	}
	a.report(streams.Err)
	if a.refused() && output != "patch" {
		return errRefused
	}
	if _, err := streams.Out.Write(text); err != nil {
		return err
	}
	if a.refused() {
		return errRefused
	}
	return nil
}

// ops returns the operations of a document, with paths from its root.
func (a *answers) ops(d *manifest.Document) []jsonpatch.Operation {
	var ops []jsonpatch.Operation
	for _, it := range a.items {
		if it.Document == d {
			ops = append(ops, it.ops()...)
		}
	}
	return ops
}

func (it item) ops() []jsonpatch.Operation {
	ops := slices.Clone(it.result.Patch)
	for i := range ops {
		ops[i].Path = it.Pointer(ops[i].Path)
	}
	return ops
}

// edited is a document before and after.
type edited struct {
	*manifest.Document
	after []byte
}

func (a *answers) edit() ([]edited, error) {
	documents := make([]edited, len(a.documents))
	for i, d := range a.documents {
		after, err := d.Apply(a.ops(d))
		if err != nil {
			return nil, err
		}
		documents[i] = edited{d, after}
	}
	return documents, nil
}

// printYAML puts the documents together again, with a separator between files.
func printYAML(a *answers, _ Streams) ([]byte, error) {
	documents, err := a.edit()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	for i, d := range documents {
		if i > 0 && d.File != documents[i-1].File {
			if !bytes.HasSuffix(b.Bytes(), []byte("\n")) {
				b.WriteByte('\n')
			}
			if !bytes.HasPrefix(d.after, []byte("---")) {
				b.WriteString("---\n")
			}
		}
		b.Write(d.after)
	}
	return b.Bytes(), nil
}

func printJSON(a *answers, _ Streams) ([]byte, error) {
	documents, err := a.edit()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	for _, d := range documents {
		if d.Number == 0 {
			continue
		}
		data, err := manifest.JSON(d.after)
		if err != nil {
			return nil, err
		}
		b.Write(data)
	}
	return b.Bytes(), nil
}

// entry is an element of -o patch.
type entry struct {
	File       string                `json:"file"`
	Document   int                   `json:"document"`
	Kind       string                `json:"kind"`
	Namespace  string                `json:"namespace"`
	Name       string                `json:"name"`
	Decision   inject.Decision       `json:"decision"`
	Reason     string                `json:"reason"`
	Source     string                `json:"source"`
	Containers []string              `json:"containers"`
	Warnings   []string              `json:"warnings"`
	Patch      []jsonpatch.Operation `json:"patch"`
}

func printPatch(a *answers, _ Streams) ([]byte, error) {
	entries := []entry{}
	for _, it := range a.items {
		entries = append(entries, entry{
			File: it.Document.File, Document: it.Document.Number, Kind: it.Kind, Namespace: it.namespace.Name, Name: it.Name,
			Decision: it.result.Decision, Reason: it.reason(), Source: it.result.Source,
			Containers: append([]string{}, it.result.Containers...), Warnings: it.warnings(),
			Patch: append([]jsonpatch.Operation{}, it.ops()...),
		})
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	err := encoder.Encode(entries)
	return b.Bytes(), err
}
