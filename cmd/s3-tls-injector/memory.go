package main

import (
	"os"
	"runtime/debug"
)

// gcPercent lets the heap grow to five times of what is in use before it is collected. What is in use
// is small, a few MiB, and each review makes twice its size of garbage: with Go's 100 the collector
// runs every few hundred reviews, and takes a tenth of the processor time. The memory limit, which the
// Deployment sets by GOMEMLIMIT, bounds it where much is in use.
const gcPercent = 400

// tuneCollector sets how often garbage is collected, where GOGC does not say it.
func tuneCollector() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}
