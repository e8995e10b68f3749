package doctor

import (
	"cmp"
	"slices"
	"strings"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/endpoint"
)

// Severity says how bad a finding is.
type Severity string

// The severities, the worst first.
const (
	// Error: TLS to the storage fails, or pods do.
	Error Severity = "error"
	// Warning: it works, and should not stay so.
	Warning Severity = "warning"
	// Unknown: it could not be checked.
	Unknown Severity = "unknown"
)

// Finding is something that was found.
type Finding struct {
	Code     Code     `json:"code"`
	Severity Severity `json:"severity"`
	Target   Target   `json:"target"`
	// Text is one sentence.
	Text string `json:"text"`
	// Fix is one line: a command that can be pasted, or what to change where.
	Fix string `json:"fix"`
}

// Examine makes all checks, and returns what they found, the worst first.
func Examine(s *Snapshot) []Finding {
	var found []Finding
	for _, check := range []func(*Snapshot) []Finding{checkInstall, checkOptIn, checkCAs, checkConfigs, checkEndpoints, checkLogs, checkGaps} {
		found = append(found, check(s)...)
	}
	found = joined(found)
	for i := range found {
		found[i].Text, found[i].Fix = endpoint.Printable(found[i].Text), endpoint.Printable(found[i].Fix)
	}
	slices.SortStableFunc(found, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Severity.rank(), b.Severity.rank()), cmp.Compare(codeRank(a.Code), codeRank(b.Code)),
			cmp.Compare(a.Target.String(), b.Target.String()))
	})
	return found
}

func (s Severity) rank() int { return slices.Index([]Severity{Error, Warning, Unknown}, s) }

// deletePod begins the command that has a pod created anew by what it belongs to.
const deletePod = "kubectl delete pod -n "

// joined makes one finding of those that are the same for several pods of a workload.
func joined(all []Finding) []Finding {
	type key struct {
		code                    Code
		namespace, object, text string
	}
	at := map[key]int{}
	var found []Finding
	for _, f := range all {
		k := key{f.Code, f.Target.Namespace, f.Target.Object, f.Text}
		if i, ok := at[k]; ok {
			if pods := &found[i].Target.Pods; !slices.Contains(*pods, first(f.Target.Pods)) {
				*pods = append(*pods, f.Target.Pods...)
				if strings.HasPrefix(f.Fix, deletePod) && strings.HasPrefix(found[i].Fix, deletePod) {
					found[i].Fix += " " + first(f.Target.Pods)
				}
			}
			continue
		}
		at[k] = len(found)
		f.Target.Pods = slices.Clone(f.Target.Pods)
		found = append(found, f)
	}
	return found
}

func first(pods []string) string {
	if len(pods) == 0 {
		return ""
	}
	return pods[0]
}

// newFinding makes a finding; its severity is that of its code.
func newFinding(code Code, at Target, text, fix string) Finding {
	return Finding{Code: code, Severity: severityOf(code), Target: at, Text: text, Fix: fix}
}
