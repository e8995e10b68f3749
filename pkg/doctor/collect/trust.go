package collect

import (
	"path"
	"slices"
	"strings"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/inject"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/settings"
)

// systemFolders are those that Go reads roots from, and systemFiles the files, of which the first one
// counts.
//
//nolint:gochecknoglobals // constants
var (
	systemFolders = []string{"/etc/ssl/certs", "/etc/pki/tls/certs"}
	systemFiles   = []string{
		"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/pki/tls/cacert.pem",
		"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/cert.pem",
	}
)

// trusted returns the CAs that a container trusts beside those of its image: what lies in files and
// folders that Go reads roots from. unseen tells that there is one whose source cannot be read.
func trusted(pod *inject.Pod, c *inject.Container) (cas []settings.CA, unseen bool) {
	folders, files := systemFolders, systemFiles
	if variable(c, "SSL_CERT_DIR") != nil {
		text, known := value(c, "SSL_CERT_DIR")
		folders, unseen = strings.Split(text, ":"), !known
	}
	if variable(c, "SSL_CERT_FILE") != nil {
		text, known := value(c, "SSL_CERT_FILE")
		files, unseen = []string{text}, unseen || !known
		// A file of the image that is none of the usual ones may hold any CA.
		unseen = unseen || !mounted(c, text) && !slices.Contains(systemFiles, text)
	}
	add := func(file string) {
		s, ok := locate(pod, c, file)
		if !ok {
			unseen = true
			return
		}
		if of := s.ca(); !slices.Contains(cas, of) {
			cas = append(cas, of)
		}
	}
	for _, file := range files {
		if mounted(c, file) {
			add(file)
		}
	}
	for i := range c.VolumeMounts {
		at := path.Clean(c.VolumeMounts[i].MountPath)
		switch {
		case slices.Contains(folders, path.Dir(at)):
			add(at)
		case slices.ContainsFunc(folders, func(folder string) bool { return isUnder(path.Clean(folder), at) }):
			unseen = true // a whole folder
		}
	}
	return cas, unseen
}

// ca is the source as a place of a CA.
func (s *source) ca() settings.CA {
	kind := settings.Secret
	if s.kind == settings.ConfigMap.ObjectKind() {
		kind = settings.ConfigMap
	}
	return settings.CA{Kind: kind, Name: s.name, Key: s.key}
}
