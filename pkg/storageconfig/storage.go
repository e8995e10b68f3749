// Package storageconfig reads what the configuration of Thanos, Tempo, Loki, Mimir,
// Pyroscope and Cortex says of their S3 storage: where it is, and how TLS to it is set up. It is
// pure, and keeps no credential: what it does not name, it does not read.
package storageconfig

import (
	"cmp"
	"encoding/json"
	"errors"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/endpoint"
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
	// ServerName is the name that the certificate has to have where it is not the endpoint's.
	ServerName string `json:"serverName,omitempty"`
	// ClientCertificate: the client has a certificate of its own.
	ClientCertificate bool `json:"clientCertificate,omitempty"`
	// TakesScheme: the product reads an endpoint with a scheme.
	TakesScheme bool `json:"takesScheme,omitempty"`
}

// Variables says what the products put in place of a variable of a configuration.
type Variables struct {
	// Of returns the value of one, where it is known.
	Of func(name string) (value string, known bool)
	// Braces: ${NAME} and ${NAME:-default} are variables beside $(NAME).
	Braces bool
}

// The products' own library takes the default of ${NAME:-default} and ${NAME:=default}; that of
// ${NAME:default} is taken too.
var variables = regexp.MustCompile(`\$\(([A-Za-z_][A-Za-z0-9_]*)\)|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::?[-=]([^}]*)|:([^}]*))?\}`)

// expand puts values in place of variables, and $(NAME) where the value is not known.
func (v Variables) expand(file []byte) []byte {
	return variables.ReplaceAllFunc(file, func(found []byte) []byte {
		match := variables.FindSubmatch(found)
		name, braces := string(match[1]), len(match[2]) > 0
		if braces {
			name = string(match[2])
			if !v.Braces {
				return found
			}
		}
		if v.Of != nil {
			if value, known := v.Of(name); known {
				return []byte(value)
			}
		}
		for _, byDefault := range match[3:] {
			if byDefault != nil {
				return byDefault
			}
		}
		return []byte("$(" + name + ")")
	})
}

// Parse reads a configuration file of any of the products. Where it configures no S3 storage it
// returns none. An error quotes nothing of the file.
func Parse(file []byte, with Variables) ([]Storage, error) {
	var root map[string]any
	if err := yaml.Unmarshal(with.expand(file), &root, func(d *json.Decoder) *json.Decoder { d.UseNumber(); return d }); err != nil {
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
		s := b.storage(strings.Join(at, "."), values)
		if b.url != "" && s.Endpoint == "" && s.Bucket == "" && text(values, b.url) == "" {
			continue // options of a client that is not in use
		}
		found = append(found, s)
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
	for _, key := range b.serverName {
		s.ServerName = cmp.Or(s.ServerName, text(values, key))
	}
	for _, key := range b.clientCertificate {
		s.ClientCertificate = s.ClientCertificate || text(values, key) != ""
	}
	return s
}

// readURL reads the URL form of Loki: s3://KEY:SECRET@HOST/BUCKET, where a host without a dot is a region.
func (s *Storage) readURL(text string) {
	parsed, err := url.Parse(text)
	if err != nil || parsed.Host == "" || !strings.Contains(parsed.Hostname(), ".") || strings.Contains(parsed.Path+parsed.RawQuery+parsed.Fragment, "@") {
		return // with an @ behind the host, what looks like it is a key
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

// withoutUser drops the credentials of an endpoint that is written as a URL, and what stands behind
// its host.
func withoutUser(endpoint string) string {
	scheme, rest, found := strings.Cut(endpoint, "://")
	if !found {
		scheme, rest = "", endpoint
	}
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		rest = rest[at+1:]
	}
	if end := strings.IndexAny(rest, "/?#"); end >= 0 && len(rest) > end+1 {
		rest = rest[:end] + "/…"
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

// HasVariable tells whether a variable whose value is not known stands in what TLS depends on.
func (s *Storage) HasVariable() bool {
	return slices.ContainsFunc([]string{s.Endpoint, s.ServerName, s.CAFile}, isVariable)
}

func isVariable(text string) bool {
	return strings.Contains(text, "$(") || strings.Contains(text, "${")
}

// Address returns the endpoint as HOST:PORT, with the port that the client takes where none is
// written; nothing where there is no endpoint, a variable whose value is not known, or what is no
// host.
func (s *Storage) Address() string {
	host := s.Endpoint
	if _, rest, found := strings.Cut(host, "://"); found {
		host = rest
	}
	host, _, _ = strings.Cut(host, "/")
	if !strings.HasPrefix(host, "[") && strings.Count(host, ":") > 1 {
		return ""
	}
	if at := strings.LastIndexByte(host, ':'); at < 0 || strings.HasSuffix(host, "]") {
		if s.Plain() {
			host += ":80"
		} else {
			host += ":443"
		}
	}
	address, err := endpoint.ParseAddress(host)
	if err != nil {
		return ""
	}
	return address.HostPort
}
