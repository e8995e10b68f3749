//go:build tools

package tempo

import (
	_ "github.com/grafana/tempo/cmd/tempo"
)
