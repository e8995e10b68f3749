package cli

import (
	"bytes"

	"github.com/rogpeppe/go-internal/diff"
)

const (
	red   = "\x1b[31m"
	green = "\x1b[32m"
	cyan  = "\x1b[36m"
	reset = "\x1b[0m"
)

// printDiff prints a unified diff of each file that changes.
func printDiff(a *answers, streams Streams) ([]byte, error) {
	documents, err := a.edit()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	for start := 0; start < len(documents); {
		var before, after []byte
		file, end := documents[start].File, start
		for ; end < len(documents) && documents[end].File == file; end++ {
			before = append(before, documents[end].Text...)
			after = append(after, documents[end].after...)
		}
		b.Write(diff.Diff(file, before, file+" injected", after))
		start = end
	}
	if streams.Color {
		return colored(b.Bytes()), nil
	}
	return b.Bytes(), nil
}

func colored(text []byte) []byte {
	colors := map[byte]string{'+': green, '-': red, '@': cyan}
	var b bytes.Buffer
	for line := range bytes.Lines(text) {
		color, ok := colors[line[0]]
		if !ok {
			b.Write(line)
			continue
		}
		b.WriteString(color)
		b.Write(bytes.TrimRight(line, "\r\n"))
		b.WriteString(reset + "\n")
	}
	return b.Bytes()
}
