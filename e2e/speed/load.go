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
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/s3-tls-injector/s3-tls-injector/e2e/localcluster"
)

// process is a server that runs, and how it is reached.
type process struct {
	name   string
	url    string
	bundle []byte // the CA of its certificate, as PEM
	pid    int
	client *http.Client

	cmd *exec.Cmd
}

// startServer starts bare, usual or the injector alone, and waits until it answers; ready is how long
// that took.
func startServer(ctx context.Context, name, program, certificates string) (p *process, ready time.Duration, err error) {
	port, err := localcluster.FreePort(ctx)
	if err != nil {
		return nil, 0, err
	}
	args := []string{"serve", name, port, certificates}
	if name == "injector" {
		args = []string{"--standalone", "--host=127.0.0.1", "--port=" + port, "--cert-dir=" + certificates, "--health-address=127.0.0.1:0", "--metrics-address=0", "--drain=0s"}
	}
	p = &process{name: name, url: "https://127.0.0.1:" + port + path}
	if p.bundle, err = os.ReadFile(filepath.Join(certificates, "ca.crt")); err != nil {
		return nil, 0, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(p.bundle)
	p.client = newClient(roots, "localhost")
	logFile := filepath.Join(certificates, name+".log")
	log, err := os.Create(logFile)
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	p.cmd = exec.Command(program, args...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	began := time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, 0, err
	}
	p.pid = p.cmd.Process.Pid
	for {
		if _, err = p.ask(ctx, []byte(tinyReview)); err == nil {
			return p, time.Since(began), nil
		}
		if ctx.Err() != nil || time.Since(began) > time.Minute {
			said, _ := os.ReadFile(logFile) // for the error alone
			return nil, 0, errors.Join(fmt.Errorf("%s does not answer: %w; it says %s", name, err, said), p.stop())
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

// newClient speaks HTTP/1.1 and keeps connections, as the API server does to a webhook behind a Service.
func newClient(roots *x509.CertPool, name string) *http.Client {
	const connections = 64
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig:     &tls.Config{RootCAs: roots, ServerName: name, MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"}},
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
	if err := unix.ClockGettime(int32(^p.pid<<3|processClock), &at); err != nil {
		return 0, err
	}
	return time.Duration(at.Nano()), nil
}

// memory is what a process has in memory, in bytes.
func (p *process) memory() (int64, error) {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.pid), "statm"))
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
func load(ctx context.Context, p *process, review []byte, clients int, lasts time.Duration) (measure, error) {
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
			for time.Since(began) < lasts && failed[i] == nil {
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
