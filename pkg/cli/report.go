package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/inject"
)

// at names a template to the user: thanos.yaml#2 StatefulSet/thanos-store.
func (it item) at() string {
	if it.live {
		return it.Kind + "/" + it.Name
	}
	return fmt.Sprintf("%s#%d %s/%s", it.Document.File, it.Document.Number, it.Kind, it.Name)
}

// warnings are those of the core and of the text, with paths from the
// document's root.
func (it item) warnings() []string {
	warnings := it.texts(it.result.Warnings)
	for _, m := range it.Warnings {
		warnings = append(warnings, m.String())
	}
	return warnings
}

func (it item) texts(messages []inject.Message) []string {
	texts := make([]string, 0, len(messages))
	for _, m := range messages {
		m.Path = it.Dotted(m.Path)
		texts = append(texts, m.String())
	}
	return texts
}

// reason is why the template is skipped, or the mistakes that refuse it.
func (it item) reason() string {
	if it.result.Decision == inject.Refused {
		return strings.Join(it.texts(it.result.Mistakes), "; ")
	}
	return string(it.result.Reason)
}

func (it item) line() string {
	switch it.result.Decision {
	case inject.Injected:
		return fmt.Sprintf("injected, source %s, containers %s", it.result.Source, strings.Join(it.result.Containers, ", "))
	case inject.Refused:
		return "refused: " + it.reason()
	case inject.Skipped:
	}
	return "skipped, " + it.reason()
}

// report prints one line for each template and each warning.
func (a *answers) report(w io.Writer) {
	for _, note := range a.notes {
		fmt.Fprintln(w, note)
	}
	for _, it := range a.items {
		fmt.Fprintf(w, "%s: %s\n", it.at(), it.line())
		for _, warning := range it.warnings() {
			fmt.Fprintf(w, "%s: warning: %s\n", it.at(), warning)
		}
		for _, hint := range it.hints() {
			fmt.Fprintf(w, "%s: hint: %s\n", it.at(), hint)
		}
	}
}

func (a *answers) refused() bool {
	return slices.ContainsFunc(a.items, func(it item) bool { return it.result.Decision == inject.Refused })
}

func printError(w io.Writer, err error) { fmt.Fprintln(w, "error:", err) }
