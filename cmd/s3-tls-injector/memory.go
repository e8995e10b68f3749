package main

import (
	"context"
	"math"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// garbageBetween is how many bytes of garbage there may be before the collector runs. What is in use
// is small, some MiB, and each review makes about twice its size of garbage: with Go's usual 100 % the
// collector would run every hundred reviews, and take a tenth of the processor time.
const garbageBetween = 16 << 20

// Bounds of what is set: with much in use it is as Go has it, and the memory limit, which the
// Deployment sets by GOMEMLIMIT, says the rest.
const (
	leastPercent = 100
	mostPercent  = 400
)

// tuneCollector waits until the caches are filled, gives back to the system what filling them took,
// and sets how often garbage is collected, where GOGC does not say it.
func (s *server) tuneCollector(ctx context.Context) error {
	if os.Getenv("GOGC") != "" {
		return nil
	}
	for s.filled() != nil {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(100 * time.Millisecond):
		}
	}
	debug.FreeOSMemory()
	debug.SetGCPercent(percentFor(inUse()))
	return nil
}

// inUse is what the last collection left, in bytes.
func inUse() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// percentFor returns GOGC's value with which there is garbageBetween.
func percentFor(inUse uint64) int {
	if inUse == 0 || inUse > math.MaxInt64/100 {
		return leastPercent
	}
	return min(max(int(garbageBetween*100/inUse), leastPercent), mostPercent)
}
