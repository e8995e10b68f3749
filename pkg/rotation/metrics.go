package rotation

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/settings"
)

// Metrics count pods and replacements, where a controller runs.
type Metrics struct {
	restarts *prometheus.CounterVec
	pods     *prometheus.Desc
	running  atomic.Pointer[Controller]
}

// NewMetrics registers s3_tls_pods and s3_tls_restarts_total. It panics where they are
// registered already.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		restarts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "s3_tls_restarts_total",
			Help: "Pods whose CA changed, by what came of replacing them: replaced, stopped (the new one is not ready), blocked (by a PodDisruptionBudget, for now) or error.",
		}, []string{"namespace", "result"}),
		pods: prometheus.NewDesc("s3_tls_pods",
			"Injected pods, by whether they carry the CA that is there now: current, stale, or unknown.", []string{"namespace", "state"}, nil),
	}
	registry.MustRegister(m.restarts, m)
	return m
}

func (m *Metrics) follow(c *Controller) { m.running.Store(c) }

// Used returns the CAs that pods carry, by namespace, where a controller runs.
func (m *Metrics) Used() map[string][]settings.CA {
	if c := m.running.Load(); c != nil {
		return c.Used()
	}
	return nil
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(descs chan<- *prometheus.Desc) { descs <- m.pods }

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(metrics chan<- prometheus.Metric) {
	c := m.running.Load()
	if c == nil {
		return
	}
	type key struct{ namespace, state string }
	counts := map[key]int{}
	cluster := Cluster{Bundle: c.CAs.Bundle, Changed: c.CAs.DataChanged}
	for _, p := range c.pods.All() {
		if p.Finished || p.Ending {
			continue
		}
		counts[key{p.Namespace, "current"}] += 0 // a series that ends would leave an alert unresolved
		counts[key{p.Namespace, "stale"}] += 0
		switch stale, known := Stale(p, &cluster); {
		case !known:
			counts[key{p.Namespace, "unknown"}]++
		case stale:
			counts[key{p.Namespace, "stale"}]++
		default:
			counts[key{p.Namespace, "current"}]++
		}
	}
	for k, n := range counts {
		metrics <- prometheus.MustNewConstMetric(m.pods, prometheus.GaugeValue, float64(n), k.namespace, k.state)
	}
}
