package inject_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/inject"
)

// BenchmarkDecide times the core: a decision about a pod that opts in, and its patch.
func BenchmarkDecide(b *testing.B) {
	for _, name := range []string{"small", "typical", "large"} {
		data, err := os.ReadFile(filepath.Join("..", "..", "e2e", "speed", "testdata", name+".json"))
		if err != nil {
			b.Fatal(err)
		}
		var review struct{ Request struct{ Object inject.Pod } }
		if err := json.Unmarshal(data, &review); err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if result := inject.Decide(inject.Input{Pod: review.Request.Object}); result.Decision != inject.Injected {
					b.Fatalf("%+v", result)
				}
			}
		})
	}
}
