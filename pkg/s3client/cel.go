package s3client

import (
	"fmt"
	"slices"
	"strings"
)

// This file renders the table as CEL for the matchConditions of the webhook
// entries, so that the API server itself leaves out pods without an S3 client.
//
// The expression is an upper bound of IsClient: it may let a pod through that
// the core then skips, never the reverse. It must not fail or exceed the API
// server's cost budget either, because a failing condition refuses the pod;
// hence a cheap contains before each regular expression, and the bounds below.

// A pod with more containers, words or characters in all its commands and
// arguments is let through unread. Within these bounds the expression costs less
// than the API server's limit of 1,000,000 for one call, whatever the words are.
const (
	maxContainers = 200
	maxWords      = 400
	maxCharacters = 16_000
)

// Borders of a name in a word or script: what a shell would not read as part of it.
const (
	borderBefore = `(^|[^\w.:@+=-])`
	borderAfter  = `($|[^\w./:@+=-])`
)

// CEL returns an expression over a pod, named object, that is true where one of
// its containers may be an S3 client of the table.
func CEL() string {
	var companions, clients []string
	for _, p := range products {
		companions = append(companions, p.companions...)
		clients = append(clients, p.cel())
	}
	const words = "((has(c.command) ? c.command : []) + (has(c.args) ? c.args : []))"
	return "[(has(object.spec.initContainers) ? object.spec.initContainers : [])" +
		" + (has(object.spec.containers) ? object.spec.containers : [])].exists(containers,\n" +
		fmt.Sprintf("  containers.size() > %d ||\n", maxContainers) +
		fmt.Sprintf("  containers.map(c, %s.size()).sum() > %d ||\n", words, maxWords) +
		fmt.Sprintf("  containers.map(c, %s.map(w, w.size()).sum()).sum() > %d ||\n", words, maxCharacters) +
		fmt.Sprintf("  containers.exists(c, [%s].exists(words,\n", words) +
		"    !" + celImage(companions) + " && (\n" +
		"      words.exists(w, w.contains('objstore.config')) ||\n      " +
		strings.Join(clients, " ||\n      ") + "))))"
}

// cel renders a product: something names it, and nothing says that it does not
// use the object store.
func (p product) cel() string {
	var executables []string
	for _, name := range p.executables {
		executables = append(executables, fmt.Sprintf("(w.contains('%s') && w.matches(r'%s%s%s'))", name, borderBefore, name, borderAfter))
	}
	named := fmt.Sprintf("%s || words.exists(w, %s)", celImage(p.images), strings.Join(executables, " || "))
	if p.subcommands == nil {
		return fmt.Sprintf("((%s || (%s && words.exists(w, w.matches(r'(^|[^\\w-])-(%s)($|[^\\w.-])')))) && %s)",
			named, celLabel(p.images), strings.ReplaceAll(strings.Join(ownFlags, "|"), ".", `\.`), p.celTargets())
	}
	return fmt.Sprintf("((%s || %s) && words.exists(w, !w.startsWith('-') && w.matches(r'%s(%s)%s')))",
		named, celLabel(p.images), borderBefore, strings.Join(p.alwaysWords(), "|"), borderAfter)
}

// celTargets is false only where every -target is known not to be a client, and
// no script hides another one.
func (p product) celTargets() string {
	if len(p.nonClientTargets) == 0 {
		return "true"
	}
	targets := "(" + strings.Join(p.nonClientTargets, "|") + ")"
	none := fmt.Sprintf(`w.matches(r'^--?%s=%s(,%s)*$')`, targetFlag, targets, targets)
	return fmt.Sprintf("!(words.exists(w, w.contains('%[1]s') && %[2]s)"+
		" && words.all(w, (w.startsWith('-') || !w.matches(r'\\s')) && (!w.contains('%[1]s') || !w.matches(r'^--?%[1]s(=|$)') || %[2]s)))",
		targetFlag, none)
}

// alwaysWords are the last words of the subcommands that always are clients:
// "bucket" of "tools bucket".
func (p product) alwaysWords() []string {
	var words []string
	for name, need := range p.subcommands {
		if need == always {
			words = append(words, name[strings.LastIndexByte(name, ' ')+1:])
		}
	}
	slices.Sort(words)
	return slices.Compact(words)
}

func celImage(names []string) string {
	return fmt.Sprintf(`(has(c.image) && c.image.matches(r'(^|/)(%s)(:[^/@]*)?(@(?s:.*))?$'))`, strings.Join(names, "|"))
}

func celLabel(names []string) string {
	const label = "app.kubernetes.io/name"
	return fmt.Sprintf("(has(object.metadata.labels) && '%s' in object.metadata.labels && object.metadata.labels['%s'] in ['%s'])",
		label, label, strings.Join(names, "', '"))
}
