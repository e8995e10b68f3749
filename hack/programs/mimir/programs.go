//go:build tools

package mimir

import (
	_ "github.com/grafana/mimir/cmd/mimir"
)
