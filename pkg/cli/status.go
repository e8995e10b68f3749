package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/duration"
	"sigs.k8s.io/yaml"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/doctor"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/doctor/collect"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/inject"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/settings"
)

// watchPause is how often status -w looks.
const watchPause = 3 * time.Second

// overview holds the flags of status.
type overview struct {
	*access

	allNamespaces, watch bool
	selector             string
	output               string

	widths []int // of the table's columns, once its header is printed
}

func newStatus(streams Streams) *cobra.Command {
	o := &overview{access: newAccess()}
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the pods that opted in: source, CA, expiry, current or stale",
		Long: `Show the pods that opted in: by whom, which CA they carry, when it expires, and whether it is the
one that is there now.

STATE is current, stale (the CA changed since the pod was created), unknown (it is not known which CA the pod
carries, or the CA may not be read), not-injected (it would be, if it were created now), or why it is skipped.

Exit status: 0 fine, 2 something could not be read, which is told on standard error, or wrong usage.`,
		Example: `  # The pods of the whole cluster
  kubectl s3-tls status -A

  # Follow a rotation
  kubectl s3-tls status -n monitoring -w

  # What a script reads
  kubectl s3-tls status -A -o json`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("there is no argument %q; choose pods by -n, -A and -l", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), streams) },
	}
	flags := cmd.Flags()
	flags.BoolVarP(&o.allNamespaces, "all-namespaces", "A", false, "show all namespaces")
	flags.BoolVarP(&o.watch, "watch", "w", false, "go on, and print what changes")
	flags.StringVarP(&o.selector, "selector", "l", "", "show pods with these labels: app=thanos,tier!=test")
	flags.StringVarP(&o.output, "output", "o", "", "wide, json or yaml")
	o.AddFlags(flags)
	return cmd
}

// podStatus is a line of the table.
type podStatus struct {
	Namespace  string     `json:"namespace"`
	Name       string     `json:"name"`
	Workload   string     `json:"workload"`
	Source     string     `json:"source"`
	CA         string     `json:"ca"`
	Expires    *time.Time `json:"expires,omitempty"`
	State      string     `json:"state"`
	SHA256     string     `json:"sha256,omitempty"`
	Containers []string   `json:"containers"`
	Created    time.Time  `json:"created"`
}

func (o *overview) run(ctx context.Context, streams Streams) error {
	switch {
	case !slices.Contains([]string{"", "wide", "json", "yaml"}, o.output):
		return fmt.Errorf("-o %q is none of wide, json, yaml", o.output)
	case o.watch && (o.output == "json" || o.output == "yaml"):
		return errors.New("-w prints a table; it takes -o wide alone")
	}
	scope := collect.Scope{PodsOnly: true}
	if err := o.choose(&scope, o.allNamespaces, o.selector); err != nil {
		return err
	}
	collector, err := o.collector(streams)
	if err != nil {
		return err
	}
	collector.Progress = func(string, ...any) {} // it is quick
	printed := map[string]podStatus{}
	for first := true; ; first = false {
		snapshot, err := collector.Take(ctx, scope)
		if err != nil {
			return err
		}
		if first {
			for _, g := range snapshot.Gaps {
				fmt.Fprintf(streams.Err, "%s: %s: %s\n", g.Target, g.What, g.Why)
			}
		}
		if err := o.print(streams, statusOf(snapshot), snapshot, printed, first); err != nil {
			return err
		}
		switch {
		case o.watch:
		case len(snapshot.Gaps) > 0:
			return errUnchecked
		default:
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(watchPause):
		}
	}
}

// statusOf returns the pods that opted in, in order.
func statusOf(s *doctor.Snapshot) []podStatus {
	all := []podStatus{}
	for _, p := range s.Pods {
		d := &p.Decision
		optedIn := p.InjectedBy != "" || d.Source != "" && d.Reason != inject.OptedOut && d.Reason != inject.NoS3Client
		if !optedIn {
			continue
		}
		line := podStatus{
			Namespace: p.Namespace, Name: p.Name, Workload: p.Workload, Source: cmp.Or(p.InjectedBy, d.Source), SHA256: p.SHA256, Created: p.Created,
			Containers: []string{}, State: stateOf(p),
		}
		if p.CA != nil {
			line.CA = fmt.Sprintf("%s/%s", strings.ToLower(p.CA.Kind.ObjectKind()), p.CA.Name)
			if p.CA.Kind != settings.ClusterTrustBundle {
				line.CA += "[" + p.CA.Key + "]"
			}
			if found := s.CAOf(p); found != nil && !found.Judgement.NextExpiry.IsZero() {
				line.Expires = &found.Judgement.NextExpiry
			}
		}
		for i := range p.Clients {
			if p.Clients[i].File != "" {
				line.Containers = append(line.Containers, p.Clients[i].Container)
			}
		}
		all = append(all, line)
	}
	slices.SortFunc(all, func(a, b podStatus) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return all
}

func stateOf(p *doctor.Pod) string {
	switch {
	case p.InjectedBy == "" && p.Decision.Decision == inject.Injected:
		return "not-injected"
	case p.InjectedBy == "" && p.Decision.Decision == inject.Refused:
		return "refused"
	case p.InjectedBy == "":
		return string(p.Decision.Reason)
	case p.Stale:
		return "stale"
	case !p.CAKnown:
		return "unknown"
	}
	return "current"
}

func (o *overview) print(streams Streams, all []podStatus, snapshot *doctor.Snapshot, printed map[string]podStatus, first bool) error {
	switch o.output {
	case "json":
		encoder := json.NewEncoder(streams.Out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(all)
	case "yaml":
		text, err := yaml.Marshal(all)
		if err != nil {
			return err
		}
		_, err = streams.Out.Write(text)
		return err
	}
	return o.printTable(streams, all, snapshot, printed, first)
}

// printTable prints the lines that are not as they were printed before, and of pods that are no more
// a last one.
func (o *overview) printTable(streams Streams, all []podStatus, snapshot *doctor.Snapshot, printed map[string]podStatus, first bool) error {
	if first && len(all) == 0 && len(snapshot.Gaps) == 0 {
		if _, err := io.WriteString(streams.Err, "No pod has opted in.\n"); err != nil || !o.watch {
			return err
		}
	}
	changed := slices.DeleteFunc(slices.Clone(all), func(p podStatus) bool {
		before, known := printed[p.Namespace+"/"+p.Name]
		return known && reflect.DeepEqual(before, p)
	})
	gone := maps.Clone(printed)
	for _, p := range all {
		delete(gone, p.Namespace+"/"+p.Name)
		printed[p.Namespace+"/"+p.Name] = p
	}
	for _, at := range slices.Sorted(maps.Keys(gone)) {
		p := gone[at]
		p.State = "gone"
		changed = append(changed, p)
		delete(printed, at)
	}
	if len(changed) == 0 {
		return nil
	}
	var lines [][]string
	if o.widths == nil {
		lines = append(lines, o.cells("NAMESPACE", []string{"NAME", "SOURCE", "CA", "EXPIRES", "STATE", "AGE"}, []string{"WORKLOAD", "CONTAINERS", "CA-SHA256"}))
		o.widths = make([]int, len(lines[0]))
	}
	for _, p := range changed {
		expires := "-"
		if p.Expires != nil {
			expires = p.Expires.UTC().Format(time.DateOnly)
		}
		lines = append(lines, o.cells(p.Namespace,
			[]string{p.Name, cmp.Or(p.Source, "-"), cmp.Or(p.CA, "-"), expires, p.State, duration.HumanDuration(snapshot.Taken.Sub(p.Created))},
			[]string{p.Workload, cmp.Or(strings.Join(p.Containers, ","), "-"), cmp.Or(p.SHA256, "-")}))
	}
	return o.printLines(streams.Out, lines)
}

// printLines prints lines below those that were printed before.
func (o *overview) printLines(out io.Writer, lines [][]string) error {
	for _, cells := range lines {
		for i, cell := range cells {
			o.widths[i] = max(o.widths[i], len(cell))
		}
	}
	var b strings.Builder
	for _, cells := range lines {
		for i, cell := range cells[:len(cells)-1] {
			fmt.Fprintf(&b, "%-*s   ", o.widths[i], cell)
		}
		b.WriteString(cells[len(cells)-1] + "\n")
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// cells returns those of a line that the flags ask for.
func (o *overview) cells(namespace string, narrow, wide []string) []string {
	var cells []string
	if o.allNamespaces {
		cells = append(cells, namespace)
	}
	cells = append(cells, narrow...)
	if o.output == "wide" {
		cells = append(cells, wide...)
	}
	return cells
}
