package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// results are those of one run of everything.
type results struct {
	Machine   string          `json:"machine"`
	Taken     time.Time       `json:"taken"`
	Runs      []*runResult    `json:"runs"`
	Processes []processResult `json:"processes"`
}

// runResult holds the repetitions of a server with a pod and a number of clients.
type runResult struct {
	Pod     string    `json:"pod"`
	Bytes   int       `json:"bytes"`
	Clients int       `json:"clients"`
	Server  string    `json:"server"`
	Runs    []measure `json:"measures"`
}

// processResult is what a process needs.
type processResult struct {
	Name   string        `json:"name"`
	Ready  time.Duration `json:"ready"`
	Idle   int64         `json:"idleBytes"`
	Loaded int64         `json:"loadedBytes"`
}

func (r *results) add(pod string, bytes, clients int, server string, m measure) {
	if found := r.find(pod, clients, server); found != nil {
		found.Runs = append(found.Runs, m)
		return
	}
	r.Runs = append(r.Runs, &runResult{pod, bytes, clients, server, []measure{m}})
}

func (r *results) find(pod string, clients int, server string) *runResult {
	for _, found := range r.Runs {
		if found.Pod == pod && found.Clients == clients && found.Server == server {
			return found
		}
	}
	return nil
}

// median returns the middle one of what the repetitions say.
func (r *runResult) median(of func(measure) float64) float64 {
	values := make([]float64, len(r.Runs))
	for i, m := range r.Runs {
		values[i] = of(m)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

func cpuOf(m measure) float64       { return float64(m.CPU) / float64(time.Microsecond) }
func p50Of(m measure) float64       { return float64(m.P50) / float64(time.Microsecond) }
func p99Of(m measure) float64       { return float64(m.P99) / float64(time.Microsecond) }
func perSecondOf(m measure) float64 { return m.PerSecond }

// print prints medians, and ratios to the bare server.
func (r *results) print(out io.Writer) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "pod\tKB\tclients\tserver\tCPU µs\tratio\tp50 µs\tp99 µs\tratio\treviews/s\tratio\t")
	for _, run := range r.Runs {
		limit := r.find(run.Pod, run.Clients, "bare")
		cell := func(of func(measure) float64) (string, string) {
			return fmt.Sprintf("%.0f", run.median(of)), fmt.Sprintf("%.2f", run.median(of)/limit.median(of))
		}
		cpu, cpuRatio := cell(cpuOf)
		p50, _ := cell(p50Of)
		p99, p99Ratio := cell(p99Of)
		rate, rateRatio := cell(perSecondOf)
		fmt.Fprintf(w, "%s\t%.1f\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n",
			run.Pod, float64(run.Bytes)/1000, run.Clients, run.Server, cpu, cpuRatio, p50, p99, p99Ratio, rate, rateRatio)
	}
	fmt.Fprintln(w)
	fmt.Fprintln(w, "server\tready ms\tidle MiB\tafter load MiB\t")
	for _, p := range r.Processes {
		fmt.Fprintf(w, "%s\t%d\t%.1f\t%.1f\t\n", p.Name, p.Ready.Milliseconds(), float64(p.Idle)/(1<<20), float64(p.Loaded)/(1<<20))
	}
	_ = w.Flush() // to a terminal or a file of the caller
}
