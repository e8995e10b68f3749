package s3client

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// This file renders the table as CEL for the matchConditions of the webhook
// entries, so that the API server itself leaves out pods without an S3 client.
//
// The expression is an upper bound of IsClient: it may let a pod through that
// the core then skips, never the reverse. It must not fail or exceed the API
// server's cost budget either, because a failing condition refuses the pod;
// hence a cheap contains before each regular expression, and the bounds below.

// A pod with more containers, words or characters in all its images, commands
// and arguments is let through unread. Within these bounds the expression costs less
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

// words are those of container c.
const words = "((has(c.command) ? c.command : []) + (has(c.args) ? c.args : []))"

const allContainers = "[(has(object.spec.initContainers) ? object.spec.initContainers : [])" +
	" + (has(object.spec.containers) ? object.spec.containers : [])]"

// CEL returns an expression over a pod, named object, that is true where one of
// its containers may be an S3 client of the table or one of the further ones.
func CEL(further ...Pattern) string {
	return allContainers + ".exists(containers,\n" + bounds() + " ||\n" +
		"  containers.exists(c, " + ContainerCEL(further...) + "))"
}

// PatternsCEL is CEL for patterns alone, without the table.
func PatternsCEL(further ...Pattern) string {
	terms := make([]string, len(further))
	for i, p := range further {
		terms[i] = p.cel()
	}
	return allContainers + ".exists(containers,\n" + bounds() + " ||\n" +
		fmt.Sprintf("  containers.exists(c, [%s].exists(words, %s)))", words, strings.Join(terms, " || "))
}

// BoundsCEL returns an expression that is true for a pod that CEL lets through unread.
func BoundsCEL() string { return allContainers + ".exists(containers,\n" + bounds() + ")" }

func bounds() string {
	return fmt.Sprintf("  containers.size() > %d ||\n", maxContainers) +
		fmt.Sprintf("  containers.map(c, %s.size()).sum() > %d ||\n", words, maxWords) +
		fmt.Sprintf("  containers.map(c, (has(c.image) ? c.image.size() : 0) + %s.map(w, w.size()).sum()).sum() > %d", words, maxCharacters)
}

// ContainerCEL returns an expression over a container, named c, of a pod, named
// object, that is true where it may be an S3 client. Webhook entries repeat it, so
// it is kept short: what several products read is bound to a name first, by exists
// over a list of one.
func ContainerCEL(further ...Pattern) string {
	var companions, executables, terms []string
	for _, p := range products {
		companions = append(companions, p.companions...)
		executables = append(executables, p.executables...)
		terms = append(terms, p.cel())
	}
	const label = "app.kubernetes.io/name"
	flags := strings.ReplaceAll(strings.Join(ownFlags, "|"), ".", `\.`)
	bound := []struct{ name, list string }{
		{"words", "[" + words + "]"},
		{"image", "[has(c.image) ? c.image.split('@')[0] : ''].map(i, i.substring(i.lastIndexOf('/') + 1).split(':')[0])"},
		{"label", fmt.Sprintf("[has(object.metadata.labels) && '%[1]s' in object.metadata.labels ? object.metadata.labels['%[1]s'] : '']", label)},
		// Words that name a program, whichever it is.
		{"named", fmt.Sprintf("[words.filter(w, %s.exists(n, w.contains(n)) && w.matches(r'%s(%s)%s'))]",
			celList(executables), borderBefore, strings.Join(executables, "|"), borderAfter)},
		// Whether the words hold a flag of a labelled pod's product.
		{"flagged", fmt.Sprintf(`[label != '' && words.exists(w, w.matches(r'(^|[^\w-])-(%s)($|[^\w.-])'))]`, flags)},
		// What each -target names, and whether no script hides another one.
		{"targets", fmt.Sprintf("[words.filter(w, w.contains('%[1]s') && w.matches(r'^--?%[1]s(=|$)')).map(w, w.substring(w.indexOf('=') + 1).split(','))]", targetFlag)},
		{"plain", `[targets.size() > 0 && words.all(w, w.startsWith('-') || !w.matches(r'\s'))]`},
	}
	var out strings.Builder
	for _, b := range bound {
		fmt.Fprintf(&out, "%s.exists(%s,\n    ", b.list, b.name)
	}
	for _, p := range further {
		out.WriteString(p.cel() + " ||\n    ")
	}
	fmt.Fprintf(&out, "!(image in %s) && (words.exists(w, w.contains('objstore.config')) ||\n    %s)%s",
		celList(companions), strings.Join(terms, " ||\n    "), strings.Repeat(")", len(bound)))
	return out.String()
}

// HelperCEL returns an expression over a container, named c, that is true for a
// known helper.
func HelperCEL() string {
	var images []string
	terms := []string{"c.name in ['" + strings.Join(helperNames, "', '") + "']"}
	for _, p := range helpers {
		if len(p.Args) == 0 {
			images = append(images, strings.ReplaceAll(p.Image, ".", "[.]"))
		} else {
			terms = append(terms, fmt.Sprintf("[%s].exists(words, %s)", words, p.cel()))
		}
	}
	return "(" + strings.Join(append(terms, celImage(images)), " || ") + ")"
}

// cel renders a product: something names it, and nothing says that it does not
// use the object store.
func (p product) cel() string {
	named := []string{"image in names"}
	for _, name := range p.executables {
		named = append(named, fmt.Sprintf("named.exists(w, w.contains('%s'))", name))
	}
	switch {
	case p.subcommands != nil:
		named = append(named, "label in names")
		return fmt.Sprintf("[%s].exists(names, (%s) && words.exists(w, !w.startsWith('-') && w.matches(r'%s(%s)%s')))",
			celList(p.images), strings.Join(named, " || "), borderBefore, strings.Join(p.alwaysWords(), "|"), borderAfter)
	case len(p.nonClientTargets) == 0:
		named = append(named, "flagged && label in names")
		return fmt.Sprintf("[%s].exists(names, %s)", celList(p.images), strings.Join(named, " || "))
	}
	named = append(named, "flagged && label in names")
	return fmt.Sprintf("[%s].exists(names, (%s) && !(plain && targets.all(ts, ts.all(t, t in %s))))",
		celList(p.images), strings.Join(named, " || "), celList(p.nonClientTargets))
}

func celList(names []string) string { return "['" + strings.Join(names, "', '") + "']" }

// cel renders a pattern. Of an argument with a value only the flag is looked for:
// a script may hold the value in quotes.
func (p Pattern) cel() string {
	terms := []string{celImage([]string{strings.ReplaceAll(p.Image, ".", "[.]")})}
	for _, arg := range p.Args {
		name, _, _ := strings.Cut(arg, "=")
		terms = append(terms, fmt.Sprintf("words.exists(w, w.contains(%s))", strconv.QuoteToASCII(name)))
	}
	return "(" + strings.Join(terms, " && ") + ")"
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
