package cli

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/admissionpolicy"
)

func newExport(streams Streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Print the injection as objects that need no webhook",
		Example: `  # The two opt-ins, without the webhook
  kubectl s3-tls export mutatingadmissionpolicy | kubectl apply -f -`,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("cannot export %q; there is mutatingadmissionpolicy", args[0])
			}
			return errors.New("say what to export; there is mutatingadmissionpolicy")
		},
	}
	cmd.AddCommand(newExportMutatingAdmissionPolicy(streams))
	return cmd
}

func newExportMutatingAdmissionPolicy(streams Streams) *cobra.Command {
	in := &input{}
	cmd := &cobra.Command{
		Use:   "mutatingadmissionpolicy [--policy FILE]",
		Short: "Print MutatingAdmissionPolicy objects that inject without the webhook",
		Long: `Print MutatingAdmissionPolicy and MutatingAdmissionPolicyBinding objects, by which
the API server itself injects: for the pod annotation and the namespace label, or,
with --policy, for policies. They need Kubernetes 1.36.

What the webhook does and they do not is listed on standard error.

Exit status: 0, 2 where a policy cannot be read.`,
		Example: `  # The two opt-ins, without the webhook
  kubectl s3-tls export mutatingadmissionpolicy | kubectl apply -f -

  # A policy
  kubectl s3-tls export mutatingadmissionpolicy --policy thanos.yaml`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error { return runExport(in, streams) },
	}
	cmd.Flags().StringArrayVar(&in.policies, "policy", nil, "file with InjectionPolicy objects (repeatable)")
	return cmd
}

func runExport(in *input, streams Streams) error {
	objects := admissionpolicy.OptIns()
	if len(in.policies) > 0 {
		_, policies, err := in.readPolicies(nil)
		if err != nil {
			return err
		}
		objects = admissionpolicy.OfPolicies(policies)
	}
	var out bytes.Buffer
	for i := range objects {
		for _, object := range []any{&objects[i].Policy, &objects[i].Binding} {
			text, err := yaml.Marshal(object)
			if err != nil {
				return err
			}
			fmt.Fprintf(&out, "---\n%s", text)
		}
	}
	if _, err := out.WriteTo(streams.Out); err != nil {
		return err
	}
	fmt.Fprintf(streams.Err, "These objects do not do what the webhook does beside:\n- %s\n", strings.Join(admissionpolicy.NotExpressed(), "\n- "))
	return nil
}
