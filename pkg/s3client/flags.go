package s3client

import "slices"

// Flags returns the values that a container's command lines give to flags of these names, without
// dashes; of a flag given twice the last one counts.
func Flags(c Container, names ...string) map[string]string {
	values := map[string]string{}
	for _, l := range commandLines(c.Command, c.Args) {
		for i := range l.args {
			if name, value := flagValue(l.args, i); slices.Contains(names, name) {
				values[name] = value
			}
		}
	}
	return values
}

// HasFlag tells whether a container's command lines hold a flag of which the name, without dashes,
// has a property.
func HasFlag(c Container, is func(name string) bool) bool {
	return slices.ContainsFunc(commandLines(c.Command, c.Args), func(l commandLine) bool {
		for i := range l.args {
			if name, _ := flagValue(l.args, i); name != "" && is(name) {
				return true
			}
		}
		return false
	})
}
