//go:build tools

// Package thanos pins Thanos, and the Prometheus that its sidecar stands
// beside. Replacements are those of Thanos' own go.mod.
package thanos

import (
	_ "github.com/prometheus/prometheus/cmd/prometheus"
	_ "github.com/prometheus/prometheus/cmd/promtool"
	_ "github.com/thanos-io/thanos/cmd/thanos"
)
