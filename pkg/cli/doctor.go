package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/doctor"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/doctor/collect"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/endpoint"
)

// examination holds the flags of doctor.
type examination struct {
	*access

	allNamespaces bool
	selector      string
	endpoint      string
	inCluster     bool
	image         string
	save, load    string
	output        string
	// other is a flag that --load does not go with.
	other string
}

func newDoctor(streams Streams) *cobra.Command {
	e := &examination{access: newAccess()}
	cmd := &cobra.Command{
		Use:   "doctor [POD | TYPE/NAME]",
		Short: "Find out why S3 storage is not trusted",
		Long: `Find out why S3 storage is not trusted: look at the injector, at what opts pods in, at their CA,
at the object store configuration that their flags name, at their logs, and at what the
endpoint sends. Each finding has a stable code, and one line that says what to do.

It looks at one pod, at those of a workload, of a selector, of a namespace or of all. It changes
nothing; --in-cluster runs a pod for a moment, for endpoints that only the cluster reaches.
It prints no credential, and saves none.

Exit status: 0 nothing found, 1 findings, 2 something could not be checked, or wrong usage.`,
		Example: `  # Why does this pod not trust its storage?
  kubectl s3-tls doctor -n monitoring thanos-store-0

  # A whole namespace, with endpoints asked from inside the cluster
  kubectl s3-tls doctor -n monitoring --in-cluster

  # An endpoint that no configuration names
  kubectl s3-tls doctor -n monitoring sts/tempo --endpoint minio.example.com:9000

  # Send what was seen to somebody else, who looks at it without the cluster
  kubectl s3-tls doctor -A --save case.json
  kubectl s3-tls doctor --load case.json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			cmd.Flags().Visit(func(f *pflag.Flag) {
				if slices.Contains([]string{"all-namespaces", "selector", "endpoint", "in-cluster", "image", "save", "namespace", "timeout"}, f.Name) {
					e.other = f.Name
				}
			})
			return e.run(cmd.Context(), args, streams)
		},
	}
	cmd.ValidArgsFunction = e.completePods
	flags := cmd.Flags()
	flags.BoolVarP(&e.allNamespaces, "all-namespaces", "A", false, "look at all namespaces")
	flags.StringVarP(&e.selector, "selector", "l", "", "look at pods with these labels: app=thanos,tier!=test")
	flags.StringVar(&e.endpoint, "endpoint", "", "ask this endpoint too, HOST:PORT")
	flags.BoolVar(&e.inCluster, "in-cluster", false, "ask endpoints from a pod in the namespace of those that use them, which is removed at once")
	flags.StringVar(&e.image, "image", "", "image of that pod; the installed injector's where none is given")
	flags.StringVar(&e.save, "save", "", "write what was seen to a file, without credentials")
	flags.StringVar(&e.load, "load", "", "look at such a file instead of a cluster")
	flags.StringVarP(&e.output, "output", "o", "table", "table or json")
	e.addFlags(flags)
	return cmd
}

func (e *examination) run(ctx context.Context, args []string, streams Streams) error {
	if e.output != "table" && e.output != "json" {
		return fmt.Errorf("-o %q is neither table nor json", e.output)
	}
	if e.timeout <= 0 {
		return fmt.Errorf("--timeout %s: an endpoint needs some time to answer", e.timeout)
	}
	snapshot, err := e.snapshot(ctx, args, streams)
	if err != nil {
		return err
	}
	if e.save != "" {
		if err := saveSnapshot(e.save, snapshot); err != nil {
			return err
		}
	}
	findings := doctor.Examine(snapshot)
	if e.output == "json" {
		err = printJSONFindings(streams.Out, snapshot, findings)
	} else {
		err = printFindings(streams, snapshot, findings)
	}
	switch {
	case err != nil:
		return err
	case slices.ContainsFunc(findings, func(f doctor.Finding) bool { return f.Severity != doctor.Unknown }):
		return errRefused
	case len(findings) > 0:
		return errUnchecked
	}
	return nil
}

// snapshot takes one, or loads it.
func (e *examination) snapshot(ctx context.Context, args []string, streams Streams) (*doctor.Snapshot, error) {
	if e.load != "" {
		if len(args) > 0 {
			return nil, fmt.Errorf("--load looks at all that is in the file; it takes no %q beside it", args[0])
		}
		if e.other != "" {
			return nil, fmt.Errorf("--load looks at all that is in the file; it takes no --%s beside it", e.other)
		}
		return loadSnapshot(e.load)
	}
	scope, err := e.scope(args)
	if err != nil {
		return nil, err
	}
	collector, err := e.collector(streams)
	if err != nil {
		return nil, err
	}
	return collector.Take(ctx, scope)
}

func (e *examination) scope(args []string) (collect.Scope, error) {
	scope := collect.Scope{Endpoint: e.endpoint, InCluster: e.inCluster, Image: e.image, Deep: true}
	var err error
	if scope.Kind, scope.Name, err = parseTarget(args); err != nil {
		return scope, err
	}
	if scope.Kind != "" && (e.allNamespaces || e.selector != "") {
		return scope, errors.New("an object and -A or -l: give one of them")
	}
	if e.endpoint != "" {
		if _, err := endpoint.ParseAddress(e.endpoint); err != nil {
			return scope, fmt.Errorf("--endpoint: %w", err)
		}
	}
	err = e.choose(&scope, e.allNamespaces, e.selector)
	return scope, err
}

func saveSnapshot(file string, snapshot *doctor.Snapshot) error {
	data, err := json.MarshalIndent(snapshot, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(data, '\n'), 0o600)
}

func loadSnapshot(file string) (*doctor.Snapshot, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var snapshot doctor.Snapshot
	if err := json.Unmarshal(data, &snapshot); err != nil {
		return nil, fmt.Errorf("%s is no file that --save wrote: %w", file, err)
	}
	if snapshot.Version != doctor.SnapshotVersion {
		return nil, fmt.Errorf("%s is of format %d; this version of the tool reads format %d", file, snapshot.Version, doctor.SnapshotVersion)
	}
	if err := snapshot.Check(); err != nil {
		return nil, fmt.Errorf("%s is no file that --save wrote: %w", file, err)
	}
	return &snapshot, nil
}

func printJSONFindings(w io.Writer, snapshot *doctor.Snapshot, findings []doctor.Finding) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(struct {
		Taken    time.Time        `json:"taken"`
		Server   string           `json:"server"`
		Findings []doctor.Finding `json:"findings"`
	}{snapshot.Taken, snapshot.Server, append([]doctor.Finding{}, findings...)})
}

// printFindings prints a table, with the fix of each finding below it.
func printFindings(streams Streams, snapshot *doctor.Snapshot, findings []doctor.Finding) error {
	if len(findings) == 0 && len(snapshot.Pods)+len(snapshot.Workloads)+len(snapshot.Probes) == 0 {
		_, err := fmt.Fprintln(streams.Out, "Nothing is wrong: no pod here holds an S3 client or opts in.")
		return err
	}
	if len(findings) == 0 {
		_, err := fmt.Fprintf(streams.Out, "Nothing is wrong with %s, %s and %s.\n", count(len(snapshot.Pods), "pod"), count(len(snapshot.CAs), "CA"), count(len(snapshot.Probes), "endpoint"))
		return err
	}
	rows := [][3]string{{"POD", "SEVERITY", "CODE"}}
	for i := range findings {
		rows = append(rows, [3]string{endpoint.Printable(findings[i].Target.String()), string(findings[i].Severity), string(findings[i].Code)})
	}
	var widths [3]int
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	var b strings.Builder
	for i, row := range rows {
		for j, cell := range row {
			padding := strings.Repeat(" ", widths[j]-len([]rune(cell))+2)
			if i > 0 && j == 1 && streams.Color {
				cell = colour(findings[i-1].Severity, cell)
			}
			b.WriteString(cell + padding)
		}
		if i == 0 {
			b.WriteString("FINDING\n")
			continue
		}
		indent := strings.Repeat(" ", widths[0]+widths[1]+widths[2]+6)
		fmt.Fprintf(&b, "%s\n%sfix: %s\n", findings[i-1].Text, indent, findings[i-1].Fix)
	}
	fmt.Fprintln(&b, "\n"+summary(findings))
	_, err := io.WriteString(streams.Out, b.String())
	return err
}

func summary(findings []doctor.Finding) string {
	n := map[doctor.Severity]int{}
	for i := range findings {
		n[findings[i].Severity]++
	}
	return fmt.Sprintf("%s, %s, %d not checked", count(n[doctor.Error], "error"), count(n[doctor.Warning], "warning"), n[doctor.Unknown])
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func colour(s doctor.Severity, text string) string {
	code := map[doctor.Severity]string{doctor.Error: "31", doctor.Warning: "33", doctor.Unknown: "36"}[s]
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}
