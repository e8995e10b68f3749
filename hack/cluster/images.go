package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/compression"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// ownImage is the image that deploy/install.yaml names.
const ownImage = "s3-tls-injector/s3-tls-injector:v0.1.0"

// images makes container images of static binaries.
type images struct {
	programs, built, dockerfile string
}

// layout is what an image holds: programs, and the user that runs the first.
type layout struct {
	reference  string
	programs   map[string]string // path in the image to a file on this machine
	files      map[string][]byte // further files
	user       string
	entrypoint []string
}

// list returns the image of every program that has one. What hack/assets.sh did not
// build is left out.
func (i images) list() ([]layout, error) {
	own, err := layoutOf(i.dockerfile, i.built)
	if err != nil {
		return nil, err
	}
	certificate, key, err := newRoot("s3-tls-injector e2e public root")
	if err != nil {
		return nil, err
	}
	all := []layout{own, simple(filepath.Join(i.built, "pause")), i.probe(certificate, key), i.probeElsewhere(certificate)}
	for _, program := range []string{
		"cert-manager", "coredns", "loki", "mimir", "minio", "prometheus", "telemetrygen", "tempo", "tempo-operator", "thanos", "trust-manager",
	} {
		path := filepath.Join(i.programs, program)
		if _, err := os.Stat(path); err != nil {
			continue
		}
		l := simple(path)
		if program == "trust-manager" {
			if l.files, err = defaultCAs(certificate); err != nil {
				return nil, err
			}
		}
		all = append(all, l)
		if program == "tempo" {
			all = append(all, i.operatedTempo(path))
		}
	}
	return all, nil
}

func simple(program string) layout {
	name := filepath.Base(program)
	return layout{
		reference: name + ":e2e", programs: map[string]string{"bin/" + name: program},
		user: "65532:65532", entrypoint: []string{"/bin/" + name},
	}
}

// probe has a root that only these images have, as a distribution's image has the
// public ones, and its key, so that a pod of the image can be such a public host.
func (i images) probe(certificate, key []byte) layout {
	l := simple(filepath.Join(i.built, "probe"))
	l.files = map[string][]byte{"etc/ssl/certs/ca-certificates.crt": certificate, "root.key": key}
	return l
}

// probeElsewhere has the root in a file that SSL_CERT_FILE takes the place of, as
// images of the Red Hat family do.
func (i images) probeElsewhere(certificate []byte) layout {
	l := simple(filepath.Join(i.built, "probe"))
	l.reference = "probe-elsewhere:e2e"
	l.files = map[string][]byte{"etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem": certificate}
	return l
}

// defaultCAs is the package of public roots that trust-manager's image has beside it.
func defaultCAs(certificate []byte) (map[string][]byte, error) {
	content, err := json.Marshal(map[string]string{"name": "e2e", "bundle": string(certificate), "version": "1"})
	return map[string][]byte{"packages/e2e.json": content}, err
}

// operatedTempo is Tempo behind a launcher that drops a flag of tempo-operator's.
func (i images) operatedTempo(tempo string) layout {
	l := simple(tempo)
	l.reference = "operated/tempo:e2e"
	l.programs["bin/tempo-launcher"] = filepath.Join(i.built, "tempo-launcher")
	l.entrypoint = []string{"/bin/tempo-launcher"}
	return l
}

// layoutOf reads the last stage of a Dockerfile that starts from scratch and
// copies programs, which are taken from the folder, so that the image tested is
// the image that users build.
func layoutOf(dockerfile, folder string) (layout, error) {
	text, err := os.ReadFile(dockerfile)
	if err != nil {
		return layout{}, err
	}
	_, stage, found := strings.Cut(string(text), "\nFROM scratch\n")
	if !found {
		return layout{}, fmt.Errorf("%s: no stage that starts FROM scratch", dockerfile)
	}
	l := layout{reference: ownImage, programs: map[string]string{}}
	for line := range strings.Lines(stage) {
		instruction, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		words := strings.Fields(rest)
		switch instruction {
		case "", "EXPOSE":
		case "COPY":
			if len(words) != 3 {
				return layout{}, fmt.Errorf("%s: expected COPY --from=STAGE SOURCE TARGET, found %q", dockerfile, line)
			}
			l.programs[strings.TrimPrefix(words[2], "/")] = filepath.Join(folder, filepath.Base(words[1]))
		case "USER":
			l.user = rest
		case "ENTRYPOINT":
			if err := json.Unmarshal([]byte(rest), &l.entrypoint); err != nil {
				return layout{}, fmt.Errorf("%s: ENTRYPOINT: %w", dockerfile, err)
			}
		default:
			return layout{}, fmt.Errorf("%s: %s is not understood here; teach layoutOf", dockerfile, instruction)
		}
	}
	if len(l.programs) == 0 || l.user == "" || len(l.entrypoint) == 0 {
		return layout{}, fmt.Errorf("%s: the last stage lacks COPY, USER or ENTRYPOINT", dockerfile)
	}
	return l, nil
}

// write writes every image as a tar into the folder.
func (i images) write(folder string) error {
	list, err := i.list()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	for _, l := range list {
		progress("writing image %s", l.reference)
		if err := l.write(folder); err != nil {
			return fmt.Errorf("image %s: %w", l.reference, err)
		}
	}
	return nil
}

// write writes the image as a tar that `docker load`, `ctr images import` and
// `kind load image-archive` take.
func (l layout) write(folder string) error {
	tag, err := name.NewTag(l.reference)
	if err != nil {
		return err
	}
	layer, err := tarball.LayerFromOpener(l.open,
		tarball.WithCompression(compression.None), tarball.WithMediaType(types.DockerUncompressedLayer))
	if err != nil {
		return err
	}
	image, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{
		OS: "linux", Architecture: runtime.GOARCH, Config: v1.Config{User: l.user, Entrypoint: l.entrypoint},
	})
	if err != nil {
		return err
	}
	image, err = mutate.AppendLayers(image, layer)
	if err != nil {
		return err
	}
	base := strings.NewReplacer("/", "-", ":", "-").Replace(l.reference)
	return tarball.WriteToFile(filepath.Join(folder, base+".tar"), tag, image)
}

// open returns the image's only layer as a tar.
func (l layout) open() (io.ReadCloser, error) {
	reader, writer := io.Pipe()
	go func() { writer.CloseWithError(l.writeLayer(writer)) }()
	return reader, nil
}

func (l layout) writeLayer(w io.Writer) error {
	layer := tar.NewWriter(w)
	for _, path := range slices.Sorted(maps.Keys(l.programs)) {
		if err := addProgram(layer, path, l.programs[path]); err != nil {
			return err
		}
	}
	for _, path := range slices.Sorted(maps.Keys(l.files)) {
		if err := addFile(layer, path, 0o444, int64(len(l.files[path])), bytes.NewReader(l.files[path])); err != nil {
			return err
		}
	}
	return layer.Close()
}

func addProgram(layer *tar.Writer, path, source string) error {
	program, err := os.Open(source)
	if err != nil {
		return err
	}
	defer func() { _ = program.Close() }() // it is only read
	info, err := program.Stat()
	if err != nil {
		return err
	}
	return addFile(layer, path, 0o755, info.Size(), program)
}

func addFile(layer *tar.Writer, path string, mode, size int64, content io.Reader) error {
	if err := layer.WriteHeader(&tar.Header{Name: path, Mode: mode, Size: size}); err != nil {
		return err
	}
	_, err := io.Copy(layer, content)
	return err
}
