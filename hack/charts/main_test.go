package main

import (
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Each of what grows gets a picture, with all of its points.
func TestCharts(t *testing.T) {
	folder := t.TempDir()
	const output = `goos: linux
BenchmarkGrowth/containers/1-2     3322   95955 ns/op  68.92 MB/s
BenchmarkGrowth/containers/200-2     63 6358143 ns/op
BenchmarkGrowth/policies/0-2       3817  140630.5 ns/op
PASS
`
	if err := run(strings.NewReader(output), folder); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{"containers": {`cx="62.0"`, `cx="460.0"`, ">8000<", ">200<"}, "policies": {`cx="60.0"`, ">200<"}} {
		picture, err := os.ReadFile(filepath.Join(folder, "growth-"+name+".svg"))
		if err != nil {
			t.Fatal(err)
		}
		if err := xml.Unmarshal(picture, new(struct{})); err != nil {
			t.Errorf("%s is no XML: %v", name, err)
		}
		for _, text := range want {
			if !strings.Contains(string(picture), text) {
				t.Errorf("%s lacks %s:\n%s", name, text, picture)
			}
		}
	}
	if err := run(strings.NewReader("PASS\n"), folder); err == nil {
		t.Error("nothing is measured, and it says nothing")
	}
}
