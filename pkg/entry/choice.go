package entry

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/api/v1alpha1"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/s3client"
)

// maxNames is how many names one entry takes, and v1alpha1.MaxClients how many clients: what
// the CRD allows one policy, so that the expression stays within the API server's budget. The clients
// and the names of one policy alone are never both present, those of several can be.
const maxNames = 64

// choice is which containers policies inject. A pod without any of them does not
// concern the entry.
type choice struct {
	// all containers.
	all bool
	// table: the S3 clients of the table, and what the pod itself names.
	table   bool
	names   []string // in order, each once
	clients []s3client.Pattern
	// beyond: not in pods that hold one of the table's.
	beyond bool
}

func choiceOf(p *v1alpha1.InjectionPolicy) choice {
	switch names := p.Spec.Containers; {
	case slices.Contains(names, v1alpha1.All):
		return choice{all: true}
	case len(names) > 0:
		return choice{names: sorted(names)}
	}
	chosen := choice{table: true}
	for _, c := range p.Spec.Clients {
		chosen.clients = append(chosen.clients, s3client.Pattern(c))
	}
	chosen.clients = sortedPatterns(chosen.clients)
	return chosen
}

// beyondTable returns what is chosen beside the table, and whether that is anything.
func (c choice) beyondTable() (added choice, something bool) {
	c.table, c.beyond = false, true
	return c, c.all || len(c.names) > 0 || len(c.clients) > 0
}

func (c choice) equal(other choice) bool { return reflect.DeepEqual(c, other) }

// union returns what either of them chooses; it does not fit where that is more than one entry takes.
func (c choice) union(other choice) (union choice, fits bool) {
	c.all = c.all || other.all
	c.table = c.table || other.table
	c.names = sorted(slices.Concat(c.names, other.names))
	c.clients = sortedPatterns(slices.Concat(c.clients, other.clients))
	return c, len(c.names) <= maxNames && len(c.clients) <= v1alpha1.MaxClients
}

func sortedPatterns(all []s3client.Pattern) []s3client.Pattern {
	compare := func(a, b s3client.Pattern) int {
		return cmp.Or(cmp.Compare(a.Image, b.Image), slices.Compare(a.Args, b.Args))
	}
	return slices.CompactFunc(slices.SortedFunc(slices.Values(all), compare), func(a, b s3client.Pattern) bool { return compare(a, b) == 0 })
}

// cel is true for pods that the choice concerns. It is empty where that is every pod.
func (c choice) cel() string {
	chosen := c.chosen()
	if c.beyond {
		return fmt.Sprintf("!(%s) &&\n(%s)", hasClient(), cmp.Or(chosen, "true"))
	}
	if chosen == "" {
		return ""
	}
	_, named := annotation(v1alpha1.Containers)
	return fmt.Sprintf("(%s) ||\n%s", named, chosen)
}

// chosen is true for pods that hold a chosen container, and empty for every pod.
func (c choice) chosen() string {
	var terms []string
	switch {
	case c.all:
		return ""
	case c.table:
		terms = append(terms, s3client.CEL(c.clients...))
	case len(c.clients) > 0:
		terms = append(terms, s3client.PatternsCEL(c.clients...))
	}
	if len(c.names) > 0 {
		terms = append(terms, fmt.Sprintf("((has(object.spec.initContainers) ? object.spec.initContainers : [])"+
			" + (has(object.spec.containers) ? object.spec.containers : [])).exists(c, c.name in ['%s'])", strings.Join(c.names, "', '")))
	}
	return strings.Join(terms, " ||\n")
}
