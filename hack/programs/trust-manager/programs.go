//go:build tools

package trustmanager

import (
	_ "github.com/cert-manager/trust-manager/cmd/trust-manager"
)
