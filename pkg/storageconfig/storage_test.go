package storageconfig_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/storageconfig"
)

func TestParse(t *testing.T) {
	type storage = storageconfig.Storage
	for name, tt := range map[string]struct {
		file string
		want []storage
	}{
		"Thanos": {`
type: S3
config:
  bucket: blocks
  endpoint: minio:9000
  access_key: planted
  secret_key: planted
  http_config:
    tls_config: {ca_file: /ca.crt, insecure_skip_verify: true}
`, []storage{{Path: "config", Endpoint: "minio:9000", Bucket: "blocks", CAFile: "/ca.crt", CAFilePath: "http_config.tls_config.ca_file", DeadSkipVerify: true}}},
		"Thanos, skips": {
			"{type: s3, config: {bucket: b, endpoint: e, insecure: true, http_config: {insecure_skip_verify: true, tls_config: {insecure_skip_verify: true}}}}",
			[]storage{{Path: "config", Endpoint: "e", Bucket: "b", Insecure: true, SkipVerify: true, SkipVerifyPath: "http_config.insecure_skip_verify"}},
		},
		"Thanos, no S3": {"{type: GCS, config: {bucket: b}}", nil},
		"Tempo": {`
storage:
  trace:
    backend: s3
    s3: {bucket: traces, endpoint: minio:9000, tls_ca_path: /ca.crt, tls_insecure_skip_verify: true}
overrides:
  user_configurable_overrides:
    client: {backend: local, s3: {bucket: no}}
`, []storage{{Path: "storage.trace.s3", Endpoint: "minio:9000", Bucket: "traces", SkipVerify: true, SkipVerifyPath: "tls_insecure_skip_verify", CAFile: "/ca.crt", CAFilePath: "tls_ca_path"}}},
		"Loki's own client": {`
common:
  storage:
    s3: {endpoint: "https://minio.shop:9000", bucketnames: chunks, http_config: {ca_file: /ca.crt}}
storage_config:
  aws: {bucketnames: other}
  object_store: {s3: {endpoint: unused}}
`, []storage{{Path: "storage_config.aws", Endpoint: "https://minio.shop:9000", Bucket: "other", CAFile: "/ca.crt", CAFilePath: "http_config.ca_file", TakesScheme: true}}},
		"Loki, a URL with credentials": {
			"{storage_config: {aws: {s3: 's3://planted:planted@minio.shop:9000/chunks'}, named_stores: {aws: {cold: {endpoint: 'https://planted:planted@cold.shop', bucketnames: c}}}}}",
			[]storage{
				{Path: "storage_config.aws", Endpoint: "http://minio.shop:9000", Bucket: "chunks", TakesScheme: true},
				{Path: "storage_config.named_stores.aws.cold", Endpoint: "https://cold.shop", Bucket: "c", TakesScheme: true},
			},
		},
		"Loki, a region": {"{storage_config: {aws: {s3: 's3://planted:planted@eu-west-1/chunks'}}}", []storage{{Path: "storage_config.aws", TakesScheme: true}}},
		"Loki with Thanos' client": {`
common: {storage: {object_store: {s3: {endpoint: minio:9000, http: {tls_ca_path: /ca.crt}}}}}
storage_config: {use_thanos_objstore: true, object_store: {s3: {bucket_name: chunks}}, aws: {endpoint: unused}}
`, []storage{{Path: "storage_config.object_store.s3", Endpoint: "minio:9000", Bucket: "chunks", CAFile: "/ca.crt", CAFilePath: "http.tls_ca_path"}}},
		"Mimir": {`
common: {storage: {backend: s3, s3: {endpoint: minio:9000, http: {insecure_skip_verify: true}}}}
blocks_storage: {s3: {bucket_name: blocks}}
ruler_storage: {backend: filesystem, s3: {bucket_name: unused}}
alertmanager_storage: {s3: {bucket_name: alerts, endpoint: "other:443"}}
`, []storage{
			{Path: "blocks_storage.s3", Endpoint: "minio:9000", Bucket: "blocks", SkipVerify: true, SkipVerifyPath: "http.insecure_skip_verify"},
			{Path: "alertmanager_storage.s3", Endpoint: "other:443", Bucket: "alerts", SkipVerify: true, SkipVerifyPath: "http.insecure_skip_verify"},
		}},
		"common alone":      {"{common: {storage: {s3: {endpoint: e, bucketnames: b}}}}", []storage{{Path: "common.storage.s3", Endpoint: "e", Bucket: "b", TakesScheme: true}}},
		"Pyroscope":         {"{storage: {backend: s3, s3: {endpoint: e, bucket_name: b}}}", []storage{{Path: "storage.s3", Endpoint: "e", Bucket: "b"}}},
		"values of no type": {"{type: s3, config: {bucket: 1, endpoint: [], insecure: maybe, http_config: x}}", []storage{{Path: "config"}}},
		"nothing":           {"", nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := storageconfig.Parse([]byte(tt.file))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func TestAddress(t *testing.T) {
	for want, s := range map[string]storageconfig.Storage{
		"minio:9000":      {Endpoint: "minio:9000"},
		"minio:443":       {Endpoint: "minio"},
		"minio:80":        {Endpoint: "minio", Insecure: true},
		"h.shop:80":       {Endpoint: "http://h.shop", TakesScheme: true},
		"h.shop:443":      {Endpoint: "https://h.shop/path"},
		"[2001:db8::1]:9": {Endpoint: "[2001:db8::1]:9"},
		"":                {Endpoint: "${S3_ENDPOINT}:443"},
	} {
		if got := s.Address(); got != want {
			t.Errorf("%+v: %q, want %q", s, got, want)
		}
	}
	if got := (&storageconfig.Storage{}).Address(); got != "" {
		t.Errorf("no endpoint: %q", got)
	}
}

// An error says nothing of the file, which holds credentials.
func TestErrorsQuoteNothing(t *testing.T) {
	for _, file := range []string{"planted", "- planted", "a: b: planted", "\x00planted", "planted: [", "type: s3\n\tplanted: x"} {
		if _, err := storageconfig.Parse([]byte(file)); err == nil || strings.Contains(err.Error(), "planted") {
			t.Errorf("%q: %v", file, err)
		}
	}
}

// Whatever the file, nothing panics, and no value of a credential is kept.
func FuzzParse(f *testing.F) {
	f.Add([]byte("{type: s3, config: {bucket: b, endpoint: 'https://u:p@e'}}"))
	f.Add([]byte("{common: {storage: {s3: {s3: 's3://k:s@h.x/b'}}}, storage_config: {named_stores: {aws: {a: 1}}}}"))
	f.Fuzz(func(t *testing.T, file []byte) {
		found, _ := storageconfig.Parse(file)
		for _, s := range found {
			if strings.Contains(s.Endpoint, "@") {
				t.Errorf("%q keeps what stands before @", s.Endpoint)
			}
			s.Address()
		}
	})
}
