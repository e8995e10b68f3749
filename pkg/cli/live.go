package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/api/v1alpha1"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/doctor/collect"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/inject"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/manifest"
)

// addFlagsBeside adds the flags to those of files, with which -n is shared.
func (a *access) addFlagsBeside(flags *pflag.FlagSet) {
	own := pflag.NewFlagSet("", pflag.ContinueOnError)
	a.AddFlags(own)
	own.VisitAll(func(f *pflag.Flag) {
		if f.Name != "namespace" {
			flags.AddFlag(f)
		}
	})
	shared := flags.Lookup("namespace")
	shared.Usage = "namespace of manifests that name none, or of the object in the cluster"
	shared.Value = &both{shared.Value, a.Namespace}
}

// both is a flag that two read.
type both struct {
	pflag.Value

	other *string
}

// Set implements pflag.Value.
func (b *both) Set(text string) error {
	*b.other = text
	return b.Value.Set(text)
}

// onlyLive refuses flags that are about files beside an object of the cluster.
func onlyLive(flags *pflag.FlagSet) error {
	for _, name := range []string{"filename", "recursive", "policy", "namespace-label", "namespace-annotation", "exempt-namespace", "ca"} {
		if flags.Changed(name) {
			return fmt.Errorf("--%s is for files; of an object in the cluster, what is there counts", name)
		}
	}
	return nil
}

// decideLive decides about an object of the cluster, as the webhook would.
func decideLive(ctx context.Context, live *access, args []string, streams Streams) (*answers, error) {
	scope := collect.Scope{}
	var err error
	if scope.Kind, scope.Name, err = parseTarget(args); err != nil {
		return nil, err
	}
	if scope.Namespace, err = live.namespace(); err != nil {
		return nil, err
	}
	collector, err := live.collector(streams)
	if err != nil {
		return nil, err
	}
	collector.Progress = func(string, ...any) {} // it is quick
	object, err := collector.Object(ctx, scope)
	if err != nil {
		return nil, err
	}
	a := &answers{}
	for _, g := range object.Gaps {
		a.notes = append(a.notes, fmt.Sprintf("%s: %s: %s", g.Target, g.What, g.Why))
	}
	documents, err := manifest.Parse(scope.Kind+"/"+scope.Name, object.Manifest)
	if err != nil {
		return nil, err
	}
	for _, d := range documents {
		templates, err := d.Templates()
		if err != nil {
			return nil, err
		}
		for _, t := range templates {
			in := object.Input
			in.Pod, in.ClaimTemplates = t.Pod, t.ClaimTemplates
			it := item{Template: t, namespace: in.Namespace, result: inject.Decide(in), policies: inject.ExplainPolicies(in), live: true}
			if s := it.result.Settings; s != nil {
				judgement, _ := in.CA(s.CA)
				it.sha256 = judgement.SHA256
			}
			a.items = append(a.items, it)
		}
	}
	if len(a.items) == 0 {
		return nil, errors.New("it creates no pods")
	}
	return a, nil
}

// present says of a pod of the cluster what it carries, and what differs from what would be done if it
// were created now.
func (it item) present() []string {
	if !it.live || it.Kind != "Pod" {
		return nil
	}
	by := it.Pod.Metadata.Annotations[v1alpha1.InjectedBy]
	adds := slices.ContainsFunc(it.outcomes(), func(o outcome) bool { return strings.HasPrefix(o.done, "added ") })
	switch {
	case by == "" && adds:
		return []string{"it was created without the injection; created anew, it would be given what stands below"}
	case by == "":
		return []string{"it was not injected"}
	case adds:
		return []string{"injected, source " + by, "it differs: created anew, it would be given what stands below as well"}
	}
	carried, ok := it.Pod.CarriedCA()
	lines := []string{"injected, source " + by}
	if s := it.result.Settings; ok && s != nil && s.CA != carried {
		lines = append(lines, fmt.Sprintf("it carries the CA of %s %s, and not that of %s %s", carried.Kind, carried.Name, s.CA.Kind, s.CA.Name))
	}
	return append(lines, it.fingerprint()...)
}

// fingerprint holds what the pod says of its CA against what is there now.
func (it item) fingerprint() []string {
	said := it.Pod.Metadata.Annotations[v1alpha1.CASHA256]
	switch {
	case said == "":
		return []string{"it does not say which CA it carries"}
	case it.sha256 == "":
		return []string{"the CA that is there now is not known"}
	case said != it.sha256:
		return []string{"its CA has changed since: it is stale"}
	}
	return []string{"it carries the CA that is there now"}
}
