package storageconfig

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// block is a place in a configuration file that configures S3, with the names that it has
// there for things. Keys may lead through mappings: http_config.ca_file.
type block struct {
	// path leads to it; * stands for any name.
	path []string
	// when tells by another setting whether it counts.
	when func(root map[string]any) bool
	// common is where its settings come from that it does not say itself.
	common []string

	bucket                        []string
	skipVerify                    []string
	deadSkipVerify                string
	caFile                        []string
	serverName, clientCertificate []string
	url                           string
	takesScheme                   bool
	// fallback: it counts where no other one takes its settings from it.
	fallback bool
}

// blocks is the table, from the sources of the products: objstore's providers/s3 and exthttp,
// Tempo's tempodb/backend/s3, Loki's pkg/storage/chunk/client/aws and pkg/storage/bucket, Mimir's,
// Cortex's and Pyroscope's bucket clients.
//
//nolint:gochecknoglobals // a table
var blocks = slices.Concat(
	[]block{{
		path: []string{"config"}, when: isS3("type"),
		bucket: []string{"bucket"}, caFile: []string{"http_config.tls_config.ca_file"},
		skipVerify: []string{"http_config.insecure_skip_verify"}, deadSkipVerify: "http_config.tls_config.insecure_skip_verify",
		serverName: []string{"http_config.tls_config.server_name"}, clientCertificate: []string{"http_config.tls_config.cert_file"},
	}},
	// Tempo
	[]block{
		tempo("storage.trace.s3", isS3("storage.trace.backend")),
		tempo("overrides.user_configurable_overrides.client.s3", isS3("overrides.user_configurable_overrides.client.backend")),
	},
	// Loki's own client, which the other one takes the place of
	[]block{
		loki("storage_config.aws", "common.storage.s3"),
		loki("storage_config.named_stores.aws.*", ""),
		loki("ruler.storage.s3", "common.storage.s3"),
	},
	// Loki with Thanos' client, Mimir, Cortex, Pyroscope
	[]block{
		bucketClient("storage_config.object_store.s3", usesObjstore, "common.storage.object_store.s3"),
		bucketClient("storage_config.object_store.named_stores.s3.*", usesObjstore, ""),
		bucketClient("blocks_storage.s3", backend("blocks_storage"), "common.storage.s3"),
		bucketClient("ruler_storage.s3", backend("ruler_storage"), "common.storage.s3"),
		bucketClient("alertmanager_storage.s3", backend("alertmanager_storage"), "common.storage.s3"),
		bucketClient("storage.s3", isS3("storage.backend"), ""),
	},
	// What is common to all, where nothing says more
	[]block{common("common.storage.s3"), common("common.storage.object_store.s3")},
)

func tempo(path string, when func(map[string]any) bool) block {
	return block{
		path: split(path), when: when, bucket: []string{"bucket"},
		skipVerify: []string{"tls_insecure_skip_verify"}, caFile: []string{"tls_ca_path"},
		serverName: []string{"tls_server_name"}, clientCertificate: []string{"tls_cert_path"},
	}
}

func loki(path, common string) block {
	return block{
		path: split(path), common: split(common), when: func(root map[string]any) bool { return !usesObjstore(root) },
		bucket: []string{"bucketnames"}, skipVerify: []string{"http_config.insecure_skip_verify"},
		caFile: []string{"http_config.ca_file"}, url: "s3", takesScheme: true,
	}
}

func bucketClient(path string, when func(map[string]any) bool, common string) block {
	return block{
		path: split(path), common: split(common), when: when, bucket: []string{"bucket_name"},
		skipVerify: []string{"http.insecure_skip_verify"}, caFile: []string{"http.tls_ca_path"},
		serverName: []string{"http.tls_server_name"}, clientCertificate: []string{"http.tls_cert_path"},
	}
}

// common reads a block that others take their settings from, with the names of both clients of
// Loki.
func common(path string) block {
	return block{
		path: split(path), fallback: true,
		bucket: []string{"bucketnames", "bucket_name"}, skipVerify: []string{"http_config.insecure_skip_verify", "http.insecure_skip_verify"},
		caFile: []string{"http_config.ca_file", "http.tls_ca_path"}, serverName: []string{"http.tls_server_name"},
		clientCertificate: []string{"http.tls_cert_path"}, url: "s3", takesScheme: true,
	}
}

// isS3 tells whether a setting chooses S3.
func isS3(path string) func(map[string]any) bool {
	return func(root map[string]any) bool { return strings.EqualFold(text(root, path), "s3") }
}

// backend tells whether a block of Mimir or Cortex keeps its data in S3: by itself, by the common
// block, or in Cortex where nothing is said.
func backend(of string) func(map[string]any) bool {
	return func(root map[string]any) bool {
		own, shared := text(root, of+".backend"), text(root, "common.storage.backend")
		return own == "s3" || own == "" && (shared == "s3" || shared == "")
	}
}

func usesObjstore(root map[string]any) bool {
	return isTrue(root, "storage_config.use_thanos_objstore")
}

func split(path string) []string {
	if path == "" {
		return nil
	}
	return strings.Split(path, ".")
}

// expand returns the paths that a path with * stands for in a file.
func expand(root map[string]any, path []string) [][]string {
	star := slices.Index(path, "*")
	if star < 0 {
		return [][]string{path}
	}
	var all [][]string
	for _, name := range slices.Sorted(maps.Keys(mapAt(root, path[:star]))) {
		all = append(all, slices.Concat(path[:star], []string{name}, path[star+1:]))
	}
	return all
}

// mapAt returns the mapping at a path, nil where there is none.
func mapAt(root map[string]any, path []string) map[string]any {
	for _, key := range path {
		root, _ = root[key].(map[string]any)
	}
	return root
}

// under returns values with those of another mapping where it says nothing.
func under(values, common map[string]any) map[string]any {
	merged := maps.Clone(common)
	if merged == nil {
		return values
	}
	for key, value := range values {
		inner, isMap := value.(map[string]any)
		outer, both := merged[key].(map[string]any)
		if isMap && both {
			merged[key] = under(inner, outer)
		} else {
			merged[key] = value
		}
	}
	return merged
}

// at returns the value at a path of keys.
func at(root map[string]any, path string) any {
	keys := split(path)
	return mapAt(root, keys[:len(keys)-1])[keys[len(keys)-1]]
}

func text(root map[string]any, path string) string {
	switch value := at(root, path).(type) {
	case string:
		return strings.TrimSpace(value)
	case json.Number: // a bucket may be named 20240101
		return value.String()
	}
	return ""
}

func isTrue(root map[string]any, path string) bool {
	value := at(root, path)
	return value == true || value == "true"
}
