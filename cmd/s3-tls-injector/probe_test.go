package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/endpoint"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/endpoint/endpointtest"
)

func TestProbePrintsWhatTheEndpointSends(t *testing.T) {
	now := time.Now()
	root := endpointtest.Issue(t, "S3 root", nil, now, endpointtest.IsCA)
	leaf := endpointtest.Issue(t, "minio", root, now, endpointtest.IsServer)
	var out, stderr bytes.Buffer
	if err := runProbe(t.Context(), []string{endpointtest.Serve(t, leaf, root), "--server-name=minio.example.com"}, &out, &stderr); err != nil {
		t.Fatal(err)
	}
	var probe endpoint.Probe
	if err := json.Unmarshal(out.Bytes(), &probe); err != nil {
		t.Fatal(err)
	}
	chain, err := probe.Certificates()
	if err != nil || len(chain) != 2 || !chain[0].Equal(leaf.Certificate) || probe.Name != "minio.example.com" || probe.Failure != endpoint.NoFailure {
		t.Errorf("%+v, %v", probe, err)
	}
}

// An endpoint that does not answer is an answer too; wrong usage is none.
func TestProbeFails(t *testing.T) {
	var out, stderr bytes.Buffer
	if err := runProbe(t.Context(), []string{endpointtest.Closed(t)}, &out, &stderr); err != nil || !strings.Contains(out.String(), `"failure":"refused"`) {
		t.Errorf("%v: %s", err, &out)
	}
	for _, args := range [][]string{nil, {"a:1", "b:2"}, {"http://a"}, {"--nonsense", "a:1"}} {
		out.Reset()
		if err := runProbe(t.Context(), args, &out, &stderr); !errors.Is(err, errUsage) || out.Len() > 0 {
			t.Errorf("%q: %v, %s", args, err, &out)
		}
	}
}
