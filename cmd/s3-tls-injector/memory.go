package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// garbageBetween is how many bytes of garbage there may be before the collector runs. What is in use
// is small, some MiB, and each review makes about twice its size of garbage: with Go's usual 100 % the
// collector would run every hundred reviews, and take a tenth of the processor time.
const garbageBetween = 16 << 20

// Bounds of what is set. The memory limit, which the Deployment sets by GOMEMLIMIT, comes before it.
const (
	leastPercent = 75
	mostPercent  = 400
)

// settled is how long after the caches are filled the rest of the start is over, and tuneEvery how
// often it is looked what is in use: namespaces and CAs become more.
const (
	settled   = 10 * time.Second
	tuneEvery = time.Minute
)

// tuneCollector sets how often garbage is collected, where GOGC does not say it: once the caches are
// filled, and again from time to time. It gives back to the system what the start took.
func (s *server) tuneCollector(ctx context.Context) error {
	if os.Getenv("GOGC") != "" {
		return nil
	}
	for s.filled() != nil {
		if !pause(ctx, 100*time.Millisecond) {
			return nil
		}
	}
	debug.FreeOSMemory()
	percent := percentFor(inUse())
	debug.SetGCPercent(percent)
	if !pause(ctx, settled) {
		return nil
	}
	debug.FreeOSMemory()
	for {
		if now := percentFor(inUse()); now != percent {
			percent = now
			debug.SetGCPercent(percent)
		}
		if !pause(ctx, tuneEvery) {
			return nil
		}
	}
}

// pause waits, and tells whether ctx goes on.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// inUse is what the last collection left, in bytes.
func inUse() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// percentFor returns GOGC's value with which there is garbageBetween.
func percentFor(inUse uint64) int {
	if inUse == 0 {
		return leastPercent
	}
	return int(min(max(garbageBetween*100/inUse, leastPercent), mostPercent)) //nolint:gosec // at most mostPercent
}
