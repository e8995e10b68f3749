package webhook

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
)

// reviews are those that a real API server sends; see e2e/speed.
const reviews = "../e2e/speed/testdata"

// body is a request's body that can be read again.
type body struct{ bytes.Reader }

func (*body) Close() error { return nil }

// BenchmarkServeHTTP times the handler alone, without HTTP and TLS, with the log that it writes.
func BenchmarkServeHTTP(b *testing.B) {
	for _, name := range []string{"small", "typical", "large"} {
		review, err := os.ReadFile(filepath.Join(reviews, name+".json"))
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			serveAgain(b, newBenchHandler(), review)
		})
	}
}

// BenchmarkDecode times the reading of reviews.
func BenchmarkDecode(b *testing.B) {
	for _, name := range []string{"small", "typical", "large"} {
		review, err := os.ReadFile(filepath.Join(reviews, name+".json"))
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(review)))
			for b.Loop() {
				if _, err := decode(review); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// discard is a response that nobody reads.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(status int)      { d.status = status }
func (d *discard) Write(p []byte) (int, error) { return io.Discard.Write(p) }
