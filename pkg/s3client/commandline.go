package s3client

import (
	"path"
	"slices"
	"strings"
	"unicode"
)

// commandLine is one program call: the program, empty for the image's own
// entrypoint, and its arguments.
type commandLine struct {
	program string
	args    []string
}

// shells are the programs whose -c argument is a script.
var shells = []string{"sh", "bash", "ash", "dash", "zsh"} //nolint:gochecknoglobals // constant

// wrappers are words that may stand before a command, and how many operands
// of their own they take.
var wrappers = map[string]int{ //nolint:gochecknoglobals // constant
	"exec": 0, "env": 0, "command": 0, "nohup": 0, "nice": 0, "time": 0, "busybox": 0,
	"tini": 0, "dumb-init": 0, "catatonit": 0,
	"timeout": 1, "gosu": 1, "su-exec": 1,
	"if": 0, "then": 0, "else": 0, "elif": 0, "while": 0, "until": 0, "do": 0, "!": 0, "{": 0,
}

// maxDepth bounds scripts that call shells that run scripts.
const maxDepth = 4

// commandLines returns the program calls of a container's command and args: one
// for a plain command, one for each simple command of a `sh -c` script.
func commandLines(command, args []string) []commandLine {
	argv := slices.Concat(command, args)
	if len(command) == 0 && (len(args) == 0 || !startsProgram(args[0])) {
		return []commandLine{{args: args}}
	}
	return calls(argv, maxDepth)
}

// startsProgram tells whether args without a command begin with a program, as
// for an image that has no entrypoint, or tini as its entrypoint.
func startsProgram(word string) bool {
	base := path.Base(word)
	_, wrapper := wrappers[base]
	return slices.Contains(shells, base) || (wrapper && strings.Contains(word, "/")) || slices.ContainsFunc(products, func(p product) bool {
		return slices.Contains(p.executables, base)
	})
}

func calls(argv []string, depth int) []commandLine {
	argv = unwrap(argv)
	if len(argv) == 0 || depth == 0 {
		return nil
	}
	if !slices.Contains(shells, path.Base(argv[0])) {
		return []commandLine{{program: argv[0], args: argv[1:]}}
	}
	c := slices.IndexFunc(argv, isDashC)
	if c < 0 || c+1 == len(argv) {
		return calls(argv[1:], depth-1) // sh entrypoint.sh …
	}
	var found []commandLine
	rest := argv[c+2:]
	for _, simple := range splitScript(argv[c+1]) {
		if i := slices.Index(simple, "$@"); i >= 0 && len(rest) > 0 {
			simple = slices.Concat(simple[:i], rest[1:], simple[i+1:])
		}
		found = append(found, calls(simple, depth-1)...)
	}
	return found
}

// isDashC recognises -c, also among other short options: -ec.
func isDashC(word string) bool {
	return len(word) > 1 && word[0] == '-' && word[1] != '-' && strings.HasSuffix(word, "c")
}

// unwrap drops what stands before the program: NAME=value, exec, tini -- and the like.
func unwrap(argv []string) []string {
	for len(argv) > 0 {
		operands, wrapper := wrappers[path.Base(argv[0])]
		if !wrapper && !isAssignment(argv[0]) {
			return argv
		}
		argv = argv[1:]
		for wrapper && len(argv) > 0 && (isOption(argv[0]) || operands > 0) {
			if !isOption(argv[0]) {
				operands--
			}
			argv = argv[1:]
		}
	}
	return argv
}

func isAssignment(word string) bool {
	name, _, found := strings.Cut(word, "=")
	return found && name != "" && !strings.ContainsAny(name, "/-.")
}

// isOption takes a number for the value of the option before it: nice -n 10.
func isOption(word string) bool {
	return strings.HasPrefix(word, "-") || strings.Trim(word, "0123456789") == ""
}

// splitScript splits a shell script into simple commands and these into words,
// as a shell would without expanding anything: quotes are taken off, comments
// dropped, $(…) and `…` stay part of their word.
func splitScript(script string) [][]string {
	var s scriptSplitter
	for i := 0; i < len(script); i++ {
		i += s.next(script[i:])
	}
	s.endCommand()
	return s.commands
}

type scriptSplitter struct {
	commands [][]string
	command  []string
	word     strings.Builder
	inWord   bool
}

// next takes the piece of script that rest begins with and returns how many
// bytes beyond the first it took.
func (s *scriptSplitter) next(rest string) int {
	switch c := rest[0]; {
	case c == '\\' && len(rest) > 1:
		if rest[1] != '\n' {
			s.add(rest[1:2])
		}
		return 1
	case c == '\'' || c == '"':
		return s.quoted(rest, c)
	case strings.HasPrefix(rest, "$(") || c == '`':
		n := substitution(rest)
		s.add(rest[:n])
		return n - 1
	case c == '#' && !s.inWord:
		if n := strings.IndexByte(rest, '\n'); n >= 0 {
			return n - 1
		}
		return len(rest) - 1
	case strings.IndexByte(";&|()\n", c) >= 0:
		s.endCommand()
	case unicode.IsSpace(rune(c)):
		s.endWord()
	default:
		s.add(rest[:1])
	}
	return 0
}

func (s *scriptSplitter) add(text string) {
	s.inWord = true
	s.word.WriteString(text)
}

// quoted takes a quoted string; one that is never closed goes to the end.
func (s *scriptSplitter) quoted(rest string, quote byte) int {
	s.inWord = true
	for i := 1; i < len(rest); i++ {
		switch {
		case rest[i] == quote:
			return i
		case rest[i] == '\\' && quote == '"' && i+1 < len(rest):
			i++
			if rest[i] != '\n' {
				s.add(rest[i : i+1])
			}
		default:
			s.add(rest[i : i+1])
		}
	}
	return len(rest) - 1
}

func (s *scriptSplitter) endWord() {
	if s.inWord {
		s.command = append(s.command, s.word.String())
	}
	s.word.Reset()
	s.inWord = false
}

func (s *scriptSplitter) endCommand() {
	s.endWord()
	if len(s.command) > 0 {
		s.commands = append(s.commands, s.command)
	}
	s.command = nil
}

// substitution returns the length of the $(…) or `…` that rest begins with.
func substitution(rest string) int {
	if rest[0] == '`' {
		if n := strings.IndexByte(rest[1:], '`'); n >= 0 {
			return n + 2
		}
		return len(rest)
	}
	depth := 0
	for i := range len(rest) {
		switch rest[i] {
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(rest)
}
