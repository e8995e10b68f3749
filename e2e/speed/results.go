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
	// LookUps are of the typical pod, one at a time: the injector with and without look-ups, in turns.
	LookUps   []lookUpResult   `json:"lookUps,omitempty"`
	Creations []creationResult `json:"creations,omitempty"`
}

// lookUpResult is one turn.
type lookUpResult struct {
	Server  string  `json:"server"`
	Measure measure `json:"measure"`
}

// creationResult is the time of a pod's creation, as the client sees it.
type creationResult struct {
	Name      string        `json:"name"`
	Creations int           `json:"creations"`
	P50       time.Duration `json:"p50"`
	P99       time.Duration `json:"p99"`
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
	if len(r.LookUps) > 0 {
		with, without := r.lookUps()
		fmt.Fprintf(w, "\nCPU of a review with namespaces, policies and CAs\t%.0f µs\t%.2f\tof that without\t\n", with, with/without)
	}
	if len(r.Creations) > 0 {
		fmt.Fprintln(w, "\ncreation of a pod\tp50 ms\tratio\tp99 ms\t")
		for _, c := range r.Creations {
			fmt.Fprintf(w, "%s\t%.2f\t%.2f\t%.2f\t\n", c.Name, float64(c.P50)/1e6, float64(c.P50)/float64(r.Creations[0].P50), float64(c.P99)/1e6)
		}
	}
	_ = w.Flush() // to a terminal or a file of the caller
}

// lookUps returns the medians of a review's processor time with look-ups and without, in microseconds.
func (r *results) lookUps() (with, without float64) {
	of := map[string]*runResult{}
	for _, turn := range r.LookUps {
		if of[turn.Server] == nil {
			of[turn.Server] = &runResult{}
		}
		of[turn.Server].Runs = append(of[turn.Server].Runs, turn.Measure)
	}
	return of["injector with look-ups"].median(cpuOf), of["injector"].median(cpuOf)
}
