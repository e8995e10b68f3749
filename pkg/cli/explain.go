package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/api/v1alpha1"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/doctor"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/inject"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/settings"
)

func newExplain(streams Streams) *cobra.Command {
	in, live := &input{}, newAccess()
	cmd := &cobra.Command{
		Use:   "explain POD | TYPE/NAME | -f FILE|DIR|-",
		Short: "Say for each container what is done, and which rule decided it",
		Long: `Say for each container what is done, and which rule decided it: of manifests, or of a pod or workload
in a cluster, with its namespace, the policies and the CA as the webhook sees them. Of a pod that is there it says
what differs from what would be done if it were created now.

Exit status: 0, 1 where a manifest is refused, 2 where one cannot be read.`,
		Example: `  # Why is this pod not injected?
  kubectl s3-tls explain -n monitoring thanos-store-0
  kubectl s3-tls explain -f thanos.yaml

  # What would be done with the pods of a workload?
  kubectl s3-tls explain -n monitoring sts/thanos-store

  # In a labelled namespace
  kubectl s3-tls explain -f tempo.yaml --namespace-label s3-tls/inject=true`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return runExplain(cmd.Context(), cmd.Flags(), in, live, args, streams)
		},
	}
	cmd.ValidArgsFunction = live.completePods
	in.addFlags(cmd.Flags())
	live.addFlagsBeside(cmd.Flags())
	return cmd
}

func runExplain(ctx context.Context, flags *pflag.FlagSet, in *input, live *access, args []string, streams Streams) error {
	var a *answers
	err := onlyLive(flags)
	switch {
	case len(args) == 0:
		a, err = in.decide(streams)
	case err == nil:
		a, err = decideLive(ctx, live, args, streams)
	}
	if err != nil {
		return err
	}
	return a.explain(streams)
}

func (a *answers) explain(streams Streams) error {
	for _, note := range a.notes {
		fmt.Fprintln(streams.Err, note)
	}
	for i, it := range a.items {
		if i > 0 {
			fmt.Fprintln(streams.Out)
		}
		if err := it.explain(streams.Out); err != nil {
			return err
		}
	}
	if len(a.items) == 0 {
		return errors.New(noTemplates)
	}
	if a.refused() {
		return errRefused
	}
	return nil
}

func (it item) explain(out io.Writer) error {
	fmt.Fprintf(out, "%s in namespace %s\n", it.at(), it.namespace.Name)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(cells ...string) { fmt.Fprintln(w, "  "+strings.Join(cells, "\t")) }
	decision := string(it.result.Decision)
	if it.result.Decision == inject.Skipped {
		decision += ", " + it.reason()
	}
	row("decision", decision)
	row("decided by", it.result.Rule)
	for _, policy := range it.policies {
		row("policy", policy)
	}
	if it.result.Settings != nil {
		row("CA", it.caText())
		row("containers", it.result.ContainerRule)
	}
	for _, line := range it.present() {
		row("now", line)
	}
	for _, hint := range it.hints() {
		row("hint", hint)
	}
	for _, mistake := range it.texts(it.result.Mistakes) {
		row("mistake", mistake)
	}
	for _, warning := range it.warnings() {
		row("warning", warning)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	row("CONTAINER", "KIND", "DONE")
	for _, o := range it.outcomes() {
		row(o.name, o.kind, o.done)
	}
	return w.Flush()
}

// hints say what a pod that nobody opted in may have been meant to say.
func (it item) hints() []string {
	if it.result.Reason != inject.NotOptedIn {
		return nil
	}
	var hints []string
	if _, ok := it.ObjectAnnotations[v1alpha1.Inject]; ok && len(it.Path) > 0 {
		hints = append(hints, fmt.Sprintf("the annotation %s is on the %s; move it to %s", v1alpha1.Inject, it.Kind, it.Dotted("metadata.annotations")))
	}
	if it.Pod.Metadata != nil {
		if _, ok := it.Pod.Metadata.Labels[v1alpha1.Inject]; ok {
			hints = append(hints, v1alpha1.Inject+" is a label of the pod; only an annotation counts")
		}
		for _, key := range doctor.Lookalikes(it.Pod.Metadata.Annotations) {
			hints = append(hints, fmt.Sprintf("the annotation %s is nearly %s", key, v1alpha1.Inject))
		}
	}
	if label, ok := it.namespace.Labels[v1alpha1.Inject]; ok {
		hints = append(hints, fmt.Sprintf("label %s of the namespace: %s", v1alpha1.Inject, settings.Neither(label, "true", "false")))
	}
	for _, key := range doctor.Lookalikes(it.namespace.Labels) {
		hints = append(hints, fmt.Sprintf("the label %s of the namespace is nearly %s", key, v1alpha1.Inject))
	}
	if _, ok := it.namespace.Annotations[v1alpha1.Inject]; ok {
		hints = append(hints, v1alpha1.Inject+" is an annotation of the namespace; only a label counts")
	}
	return hints
}

// caText says what is mounted where: secret s3-tls-cert, key ca.crt, at /etc/….
func (it item) caText() string {
	s := it.result.Settings
	text := fmt.Sprintf("%s %s", s.CA.Kind, s.CA.Name)
	if s.CA.Kind != settings.ClusterTrustBundle {
		text += ", key " + s.CA.Key
	}
	return text + ", at " + s.MountPath
}
