package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// process is a server that runs, and how it is reached.
type process struct {
	name   string
	cmd    *exec.Cmd
	url    string
	roots  *x509.CertPool
	log    string
	client *http.Client
}

// start runs a server and waits until it answers; ready is how long that took.
func start(ctx context.Context, p *process, program string, args ...string) (ready time.Duration, err error) {
	log, err := os.Create(p.log)
	if err != nil {
		return 0, err
	}
	defer log.Close()
	p.cmd = exec.Command(program, args...) //nolint:noctx // it is stopped by stop
	p.cmd.Stdout, p.cmd.Stderr = log, log
	began := time.Now()
	if err := p.cmd.Start(); err != nil {
		return 0, err
	}
	p.client = newClient(p.roots, 64)
	for {
		if _, err = p.ask(ctx, []byte(tinyReview)); err == nil {
			return time.Since(began), nil
		}
		switch {
		case ctx.Err() != nil:
			return 0, ctx.Err()
		case time.Since(began) > time.Minute:
			return 0, fmt.Errorf("%s does not answer: %w; its log is %s", p.name, err, p.log)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// tinyReview is of a pod that does not opt in.
const tinyReview = `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"1","kind":{"group":"","version":"v1","kind":"Pod"},` +
	`"resource":{"group":"","version":"v1","resource":"pods"},"namespace":"default","operation":"CREATE",` +
	`"object":{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},"spec":{"containers":[{"name":"a","image":"a"}]}}}}`

func (p *process) stop() error {
	p.client.CloseIdleConnections()
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		return err
	}
	_ = p.cmd.Wait() // how it ends is of no interest
	return nil
}

// newClient speaks HTTP/1.1 and keeps connections, as the API server does to a webhook.
func newClient(roots *x509.CertPool, connections int) *http.Client {
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig:     &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"}},
		TLSNextProto:        map[string]func(string, *tls.Conn) http.RoundTripper{},
		MaxIdleConnsPerHost: connections, MaxConnsPerHost: connections, DisableCompression: true,
	}}
}

// ask sends one review, and returns the answer.
func (p *process) ask(ctx context.Context, review []byte) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, bytes.NewReader(review))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := p.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %s: %s", response.Status, body)
	}
	return body, err
}

// mustPatch checks that a server does what is measured: it allows the pod, with a patch.
func (p *process) mustPatch(ctx context.Context, review []byte) error {
	body, err := p.ask(ctx, review)
	if err != nil {
		return err
	}
	var answer struct {
		Response struct {
			UID     string
			Allowed bool
			Patch   []byte
		}
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return err
	}
	if r := answer.Response; !r.Allowed || r.UID != uidOf(review) || !bytes.Contains(r.Patch, []byte("s3-ca.crt")) {
		return fmt.Errorf("%s gives another answer: %s", p.name, body)
	}
	return nil
}

// cpu is the processor time that a process has taken, in user and kernel, all of its threads.
func (p *process) cpu() (time.Duration, error) {
	const processClock = 2 // CPUCLOCK_SCHED of a process, see clock_getcpuclockid(3)
	var at unix.Timespec
	if err := unix.ClockGettime(int32(^p.cmd.Process.Pid<<3|processClock), &at); err != nil { //nolint:gosec // a process ID is small
		return 0, err
	}
	return time.Duration(at.Nano()), nil
}

// memory is what a process has in memory, in bytes.
func (p *process) memory() (int64, error) {
	data, err := os.ReadFile(filepath.Join("/proc", fmt.Sprint(p.cmd.Process.Pid), "statm"))
	if err != nil {
		return 0, err
	}
	var size, resident int64
	if _, err := fmt.Sscan(string(data), &size, &resident); err != nil {
		return 0, err
	}
	return resident * int64(os.Getpagesize()), nil
}

// measure is what came of one run.
type measure struct {
	Requests  int           `json:"requests"`
	CPU       time.Duration `json:"cpuPerReview"` // nanoseconds
	P50       time.Duration `json:"p50"`
	P99       time.Duration `json:"p99"`
	PerSecond float64       `json:"perSecond"`
}

// load sends a review again and again for a time, from as many clients as are given.
func load(ctx context.Context, p *process, review []byte, clients int, for_ time.Duration) (measure, error) {
	if err := p.mustPatch(ctx, review); err != nil {
		return measure{}, err
	}
	before, err := p.cpu()
	if err != nil {
		return measure{}, err
	}
	latencies := make([][]time.Duration, clients)
	failed := make([]error, clients)
	var all sync.WaitGroup
	began := time.Now()
	for i := range clients {
		all.Go(func() {
			for time.Since(began) < for_ && failed[i] == nil {
				sent := time.Now()
				_, failed[i] = p.ask(ctx, review)
				latencies[i] = append(latencies[i], time.Since(sent))
			}
		})
	}
	all.Wait()
	took := time.Since(began)
	after, err := p.cpu()
	if err := errors.Join(append(failed, err)...); err != nil {
		return measure{}, fmt.Errorf("%s: %w", p.name, err)
	}
	sorted := slices.Sorted(slices.Values(slices.Concat(latencies...)))
	n := len(sorted)
	return measure{
		Requests: n, CPU: (after - before) / time.Duration(n), P50: sorted[n/2], P99: sorted[n*99/100], PerSecond: float64(n) / took.Seconds(),
	}, nil
}
