// Command charts draws what BenchmarkGrowth prints, one SVG for each of what grows.
//
//	go test ./webhook -run='^$' -bench=Growth | go run ./hack/charts FOLDER
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: charts FOLDER, with the output of the benchmark on standard input")
		os.Exit(2)
	}
	if err := run(os.Stdin, os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// point is a measure: microseconds for one review with so many of something.
type point struct{ count, micros float64 }

func run(in io.Reader, folder string) error {
	all, err := read(in)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return errors.New("standard input has no line of BenchmarkGrowth")
	}
	for _, what := range slices.Sorted(maps.Keys(all)) {
		file := filepath.Join(folder, "growth-"+what+".svg")
		if err := os.WriteFile(file, []byte(draw(what, all[what])), 0o600); err != nil { //nolint:gosec // the folder is the caller's
			return err
		}
		fmt.Fprintln(os.Stderr, "#", file)
	}
	return nil
}

var line = regexp.MustCompile(`^BenchmarkGrowth/([a-z]+)/(\d+)\S*\s+\d+\s+([\d.]+) ns/op`)

// read returns the measures by what grows.
func read(in io.Reader) (map[string][]point, error) {
	all := map[string][]point{}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		match := line.FindStringSubmatch(lines.Text())
		if match == nil {
			continue
		}
		count, _ := strconv.ParseFloat(match[2], 64) // digits
		nanos, err := strconv.ParseFloat(match[3], 64)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", lines.Text(), err)
		}
		all[match[1]] = append(all[match[1]], point{count, nanos / 1000})
	}
	return all, lines.Err()
}

// The picture, in pixels.
const (
	width, height = 480, 260
	left, bottom  = 60, 40
	top, right    = 30, 20
)

// draw draws a line through the points, on axes that begin at zero.
func draw(what string, points []point) string {
	slices.SortFunc(points, func(a, b point) int { return int(a.count - b.count) })
	var most point
	for _, p := range points {
		most.count, most.micros = max(most.count, p.count), max(most.micros, p.micros)
	}
	most.micros = roundUp(most.micros)
	x := func(count float64) float64 { return left + count/max(most.count, 1)*(width-left-right) }
	y := func(micros float64) float64 { return height - bottom - micros/most.micros*(height-bottom-top) }
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="sans-serif" font-size="11" fill="#24292f">`+"\n", width, height, width, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#fff"/><text x="%d" y="18" font-size="13">µs for a review of the typical pod, by %s</text>`+"\n", width, height, left, what)
	for i := range 5 {
		micros := most.micros * float64(i) / 4
		fmt.Fprintf(&b, `<path d="M%d %.1fH%d" stroke="#d0d7de"/><text x="%d" y="%.1f" text-anchor="end">%.0f</text>`+"\n", left, y(micros), width-right, left-6, y(micros)+4, micros)
	}
	var path []string
	for _, p := range points {
		path = append(path, fmt.Sprintf("%.1f %.1f", x(p.count), y(p.micros)))
		fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="3" fill="#0969da"/><text x="%.1f" y="%d" text-anchor="middle">%.0f</text>`+"\n", x(p.count), y(p.micros), x(p.count), height-bottom+16, p.count)
	}
	fmt.Fprintf(&b, `<path d="M%s" fill="none" stroke="#0969da" stroke-width="2"/><text x="%d" y="%d" text-anchor="middle">%s</text>`+"\n</svg>\n",
		strings.Join(path, "L"), (width+left)/2, height-6, what)
	return b.String()
}

// roundUp returns the next of 1, 2, 4, 5 or 8 and its tens.
func roundUp(value float64) float64 {
	for size := 1.0; ; size *= 10 {
		for _, step := range []float64{1, 2, 4, 5, 8} {
			if size*step >= value {
				return size * step
			}
		}
	}
}
