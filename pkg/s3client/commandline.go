package s3client

import (
	"slices"
	"strings"
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
	"timeout": 0, "gosu": 1, "su-exec": 1,
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
	base := baseName(word)
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
	if !slices.Contains(shells, baseName(argv[0])) {
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
		operands, wrapper := wrappers[baseName(argv[0])]
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

// isOption takes a number or duration for an option's value, or for the operand
// of timeout: nice -n 10, timeout 60s.
func isOption(word string) bool {
	if strings.HasPrefix(word, "-") {
		return true
	}
	return word != "" && word[0] >= '0' && word[0] <= '9' && strings.Trim(word, "0123456789.smhd") == ""
}

// splitScript splits a shell script into simple commands and these into words,
// as a shell would without expanding anything: comments are dropped, $(…) and
// `…` stay part of their word. Quotes are taken off where they hold a whole word
// or the value of a flag, and are kept inside a word, so that every name that is
// found in a word stands in the script in one piece (see CEL).
func splitScript(script string) [][]string {
	var s scriptSplitter
	for i := 0; i < len(script); {
		i += s.next(script[i:])
	}
	s.endCommand()
	return s.commands
}

type scriptSplitter struct {
	commands [][]string
	command  []string
	word     []byte
	inWord   bool
}

// next takes the piece of script that rest begins with and returns its length.
func (s *scriptSplitter) next(rest string) int {
	switch c := rest[0]; {
	case strings.HasPrefix(rest, "\\\n"):
		s.endWord() // a shell would join the two halves of a word; see splitScript
		return 2
	case c == '\\' && len(rest) > 1:
		return s.add(rest[:2])
	case c == '\'' || c == '"':
		return s.quoted(rest)
	case strings.HasPrefix(rest, "$(") || c == '`':
		return s.add(rest[:substitution(rest)])
	case c == '#' && !s.inWord:
		return len(rest) - len(strings.TrimLeftFunc(rest, func(r rune) bool { return r != '\n' }))
	case strings.IndexByte(";&|()\n", c) >= 0:
		s.endCommand()
	case strings.IndexByte(" \t\r\v\f", c) >= 0:
		s.endWord()
	default:
		s.add(rest[:1])
	}
	return 1
}

func (s *scriptSplitter) add(text string) int {
	s.inWord = true
	s.word = append(s.word, text...)
	return len(text)
}

// quoted takes a quoted string; one that is never closed goes to the end.
func (s *scriptSplitter) quoted(rest string) int {
	quote, end := rest[0], 1
	for end < len(rest) && rest[end] != quote {
		if rest[end] == '\\' && quote == '"' {
			end++
		}
		end++
	}
	end = min(end, len(rest))
	whole := end+1 >= len(rest) || strings.IndexByte(" \t\r\v\f;&|()\n", rest[end+1]) >= 0
	if whole && (len(s.word) == 0 || s.word[len(s.word)-1] == '=') {
		s.add(rest[1:end])
	} else {
		s.add(rest[:min(end+1, len(rest))])
	}
	return min(end+1, len(rest))
}

func (s *scriptSplitter) endWord() {
	if s.inWord {
		s.command = append(s.command, string(s.word))
	}
	s.word = nil
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

// baseName returns what stands behind the last slash.
func baseName(program string) string {
	return program[strings.LastIndexByte(program, '/')+1:]
}
