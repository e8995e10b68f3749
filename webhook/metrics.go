package webhook

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Labels beside the core's decisions and reasons.
const (
	decisionError = "error"

	reasonBadReview = "bad-review"
	reasonForeign   = "foreign-request"
	reasonNamespace = "namespace-lookup"
	reasonPolicies  = "policy-lookup"
	reasonEncode    = "encode"
	reasonPanic     = "panic"
)

// outcome is what a request is counted as.
type outcome struct {
	decision, reason, source string
}

// Metrics counts and times reviews.
type Metrics struct {
	admissions *prometheus.CounterVec
	duration   *prometheus.HistogramVec
}

// NewMetrics registers s3_tls_admissions_total and
// s3_tls_admission_duration_seconds. It panics where they are registered already.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		admissions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "s3_tls_admissions_total",
			Help: "Reviews answered, by decision (injected, skipped, refused, error), stable reason, and who opted in.",
		}, []string{"decision", "reason", "source"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "s3_tls_admission_duration_seconds",
			Help:    "Time from the first byte of a review's handling to the last of its answer.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
		}, []string{"decision"}),
	}
	registry.MustRegister(m.admissions, m.duration)
	return m
}

func (m *Metrics) observe(o outcome, took time.Duration) {
	m.admissions.WithLabelValues(o.decision, o.reason, o.source).Inc()
	m.duration.WithLabelValues(o.decision).Observe(took.Seconds())
}
