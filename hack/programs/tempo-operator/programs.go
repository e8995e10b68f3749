//go:build tools

package tempooperator

import (
	_ "github.com/grafana/tempo-operator/cmd"
)
