//go:build tools

package telemetrygen

import (
	_ "github.com/open-telemetry/opentelemetry-collector-contrib/cmd/telemetrygen"
)
