//go:build tools

package loki

import (
	_ "github.com/grafana/loki/v3/cmd/loki"
)
