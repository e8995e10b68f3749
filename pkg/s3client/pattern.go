package s3client

import (
	"slices"
	"strings"
)

// Pattern recognises a container by image and arguments: an S3 client that the
// table does not know, or a helper.
type Pattern struct {
	// Image is the end of the repository, whole path elements, without tag and
	// digest: "minio/mc" stands for registry.corp/mirror/minio/mc:latest.
	Image string
	// Args must all be in the command line: "mirror" as a word, "--json" as a
	// flag with or without a value.
	Args []string
}

// Matches tells whether the container is what the pattern describes.
func (p Pattern) Matches(c Container) bool {
	if !strings.HasSuffix("/"+repository(c.Image), "/"+p.Image) {
		return false
	}
	return len(p.Args) == 0 || slices.ContainsFunc(commandLines(c.Command, c.Args), func(l commandLine) bool {
		return hasAll(slices.Concat([]string{l.program}, l.args), p.Args)
	})
}

func hasAll(args, wanted []string) bool {
	return !slices.ContainsFunc(wanted, func(want string) bool {
		return !slices.ContainsFunc(args, func(arg string) bool {
			return arg == want || (strings.HasPrefix(want, "-") && strings.HasPrefix(arg, want+"="))
		})
	})
}
