package cawatch

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/ca"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/observed"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/settings"
)

// Collector tells of the CAs as metrics: s3_tls_ca_not_after_timestamp_seconds,
// s3_tls_ca_next_expiry_timestamp_seconds and s3_tls_ca_problem.
type Collector struct {
	CAs *CAs
	// ExemptNamespaces are never injected: what is in them does not matter.
	ExemptNamespaces []string
	// Used returns the CAs that pods are known to carry, by namespace: those that are
	// missing are problems too. It is nil where that is not known.
	Used func() map[string][]settings.CA
}

//nolint:gochecknoglobals // constants
var (
	notAfter = prometheus.NewDesc("s3_tls_ca_not_after_timestamp_seconds",
		"Earliest expiry of a certificate in a CA, in seconds since 1970.", []string{"namespace", "kind", "name", "key"}, nil)
	nextExpiry = prometheus.NewDesc("s3_tls_ca_next_expiry_timestamp_seconds",
		"When the next CA of a file expires that has not yet, or the last one did where all have, in seconds since 1970.",
		[]string{"namespace", "kind", "name", "key"}, nil)
	problem = prometheus.NewDesc("s3_tls_ca_problem",
		"1 for each kind of problem of a CA.", []string{"namespace", "kind", "name", "problem"}, nil)
)

// Describe implements prometheus.Collector.
func (c *Collector) Describe(descs chan<- *prometheus.Desc) {
	descs <- notAfter
	descs <- nextExpiry
	descs <- problem
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(metrics chan<- prometheus.Metric) {
	now := c.CAs.now()
	type objectKey struct{ namespace, kind, name string }
	told := map[objectKey]map[ca.ID]bool{}
	for what, o := range c.all() {
		judgement := o.judge(what.namespace, what.CA, now)
		key := objectKey{what.namespace, what.Kind.ObjectKind(), what.Name}
		for desc, at := range map[*prometheus.Desc]time.Time{notAfter: judgement.NotAfter, nextExpiry: judgement.NextExpiry} {
			if !at.IsZero() {
				metrics <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(at.Unix()), key.namespace, key.kind, key.name, what.Key)
			}
		}
		if told[key] == nil {
			told[key] = map[ca.ID]bool{}
		}
		for _, p := range judgement.Problems {
			if !told[key][p.ID] {
				told[key][p.ID] = true
				metrics <- prometheus.MustNewConstMetric(problem, prometheus.GaugeValue, 1, key.namespace, key.kind, key.name, string(p.ID))
			}
		}
	}
}

// all returns the objects that are there, and those that pods wait for.
func (c *Collector) all() map[usedCA]*object {
	all := c.CAs.present(c.ExemptNamespaces)
	if c.Used == nil {
		return all
	}
	for namespace, used := range c.Used() {
		for _, what := range used {
			if _, known := c.CAs.Bundle(namespace, what); known {
				all[usedCA{what, namespace}] = c.CAs.object(namespace, what)
			}
		}
	}
	return all
}

// usedCA is a CA of one namespace.
type usedCA struct {
	settings.CA

	namespace string
}

// present returns the objects that are there, with each key that is told of.
func (c *CAs) present(exempt []string) map[usedCA]*object {
	c.mu.RLock()
	defer c.mu.RUnlock()
	all := map[usedCA]*object{}
	for n, f := range c.watches {
		if f.store.State() != observed.Synced {
			continue
		}
		for at, o := range f.store.All() {
			if slices.Contains(exempt, at.Namespace) {
				continue
			}
			for _, key := range f.keys {
				if len(f.keys) == 1 || o.bundles[key] != nil {
					all[usedCA{settings.CA{Kind: n.kind, Name: n.name, Key: key}, at.Namespace}] = o
				}
			}
		}
	}
	return all
}
