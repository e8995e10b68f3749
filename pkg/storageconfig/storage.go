// Package storageconfig reads what the configuration of Thanos, Tempo, Loki, Mimir,
// Pyroscope and Cortex says of their S3 storage: where it is, and how TLS to it is set up. It is
// pure, and keeps no credential: what it does not name, it does not read.
package storageconfig

import (
	"cmp"
	"errors"
	"net/url"
	"strings"

	"sigs.k8s.io/yaml"
)

// Storage is one S3 storage that a configuration names.
type Storage struct {
	// Path is where in the file it is: storage.trace.s3.
	Path string `json:"path"`
	// Endpoint is HOST or HOST:PORT, as it is written; with a scheme where one is written.
	Endpoint string `json:"endpoint,omitempty"`
	Bucket   string `json:"bucket,omitempty"`
	// Insecure is plain HTTP.
	Insecure bool `json:"insecure,omitempty"`
	// SkipVerify trusts every certificate.
	SkipVerify bool `json:"skipVerify,omitempty"`
	// SkipVerifyPath is the setting of it: http_config.insecure_skip_verify.
	SkipVerifyPath string `json:"skipVerifyPath,omitempty"`
	// DeadSkipVerify is set where the product does not read it.
	DeadSkipVerify bool `json:"deadSkipVerify,omitempty"`
	// CAFile is the file that takes the place of the system's roots; CAFilePath is the setting of it.
	CAFile     string `json:"caFile,omitempty"`
	CAFilePath string `json:"caFilePath,omitempty"`
	// TakesScheme: the product reads an endpoint with a scheme.
	TakesScheme bool `json:"takesScheme,omitempty"`
}

// Parse reads a configuration file of any of the products. Where it configures no S3 storage it
// returns none. An error quotes nothing of the file.
func Parse(file []byte) ([]Storage, error) {
	var root map[string]any
	if err := yaml.Unmarshal(file, &root); err != nil {
		return nil, errors.New("it is no YAML mapping") // the error quotes the file, which holds credentials
	}
	var found []Storage
	inherited := map[string]bool{}
	for i := range blocks {
		b := &blocks[i]
		if b.fallback && inherited[strings.Join(b.path, ".")] {
			continue
		}
		read := b.read(root)
		if len(read) > 0 {
			inherited[strings.Join(b.common, ".")] = true
		}
		found = append(found, read...)
	}
	return found, nil
}

// read returns the storages that the block configures in a file.
func (b *block) read(root map[string]any) []Storage {
	var found []Storage
	for _, at := range expand(root, b.path) {
		values := mapAt(root, at)
		if values == nil || b.when != nil && !b.when(root) {
			continue
		}
		if b.common != nil {
			values = under(values, mapAt(root, b.common))
		}
		found = append(found, b.storage(strings.Join(at, "."), values))
	}
	return found
}

func (b *block) storage(path string, values map[string]any) Storage {
	s := Storage{Path: path, TakesScheme: b.takesScheme}
	s.Endpoint = text(values, "endpoint")
	for _, key := range b.bucket {
		s.Bucket = cmp.Or(s.Bucket, text(values, key))
	}
	if b.url != "" {
		s.readURL(text(values, b.url))
	}
	s.Endpoint = withoutUser(s.Endpoint)
	s.Insecure = isTrue(values, "insecure")
	for _, key := range b.skipVerify {
		if isTrue(values, key) {
			s.SkipVerify, s.SkipVerifyPath = true, key
		}
	}
	if b.deadSkipVerify != "" {
		s.DeadSkipVerify = isTrue(values, b.deadSkipVerify) && !s.SkipVerify
	}
	for _, key := range b.caFile {
		if s.CAFile == "" {
			s.CAFile, s.CAFilePath = text(values, key), key
		}
	}
	if s.CAFile == "" {
		s.CAFilePath = ""
	}
	return s
}

// readURL reads the URL form of Loki: s3://KEY:SECRET@HOST/BUCKET, where a host without a dot is a region.
func (s *Storage) readURL(text string) {
	parsed, err := url.Parse(text)
	if err != nil || parsed.Host == "" || !strings.Contains(parsed.Hostname(), ".") {
		return
	}
	host := parsed.Host
	if parsed.Scheme != "https" {
		host = "http://" + host // s3:// means so too
	} else {
		host = "https://" + host
	}
	s.Endpoint = cmp.Or(s.Endpoint, host)
	s.Bucket = cmp.Or(s.Bucket, strings.Trim(parsed.Path, "/"))
}

// withoutUser drops the credentials of an endpoint that is written as a URL.
func withoutUser(endpoint string) string {
	scheme, rest, found := strings.Cut(endpoint, "://")
	if !found {
		scheme, rest = "", endpoint
	}
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		rest = rest[at+1:]
	}
	if found {
		return scheme + "://" + rest
	}
	return rest
}

// Plain tells whether the client speaks plain HTTP.
func (s *Storage) Plain() bool {
	return s.Insecure || s.TakesScheme && strings.HasPrefix(s.Endpoint, "http://")
}

// Address returns the endpoint as HOST:PORT, with the port that the client takes where none is
// written; nothing where there is no endpoint, or a variable that only the product expands.
func (s *Storage) Address() string {
	host := s.Endpoint
	if _, rest, found := strings.Cut(host, "://"); found {
		host = rest
	}
	host, _, _ = strings.Cut(host, "/")
	if host == "" || strings.ContainsAny(host, "$(){}") {
		return ""
	}
	if at := strings.LastIndexByte(host, ':'); at >= 0 && !strings.HasSuffix(host, "]") && strings.Count(host, ":") == 1 || strings.Contains(host, "]:") {
		return host
	}
	if s.Plain() {
		return host + ":80"
	}
	return host + ":443"
}
