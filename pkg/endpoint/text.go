package endpoint

import (
	"strconv"
	"strings"
	"unicode"
)

// Printable returns a text with escapes in place of what is not printable: what a server or a file
// says could else move a terminal's cursor, or look like a line of ours.
func Printable(text string) string {
	var b strings.Builder
	for _, r := range text {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
	}
	return b.String()
}
