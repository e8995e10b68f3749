// Package s3client decides which containers talk to an S3 object store, from
// what a pod template says of them: image, command, arguments, one label. It
// holds the table of known clients, the table of known helpers, and the same
// table as CEL for the API server. It never looks into configuration files,
// so it errs on the side of a client where those would decide.
package s3client

import (
	"slices"
	"strings"
)

// Container is what recognition reads of a container.
type Container struct {
	Name    string
	Image   string
	Command []string
	Args    []string
}

// IsClient tells whether the container is a known S3 client. nameLabel is the
// pod's label app.kubernetes.io/name.
func IsClient(c Container, nameLabel string) bool {
	lines := commandLines(c.Command, c.Args)
	image := imageName(c.Image)
	for _, p := range products {
		switch {
		case slices.Contains(p.companions, image):
			return false
		case slices.Contains(p.images, image):
			return slices.ContainsFunc(lines, p.isClientInOwnImage)
		}
	}
	return slices.ContainsFunc(lines, func(l commandLine) bool {
		return isClientByCommand(l) || isClientByLabel(l, nameLabel)
	})
}

// IsHelper tells whether the container is a known helper of the containers
// beside it: a service-mesh proxy, a secret agent, a config reloader, an auth proxy.
func IsHelper(c Container) bool {
	return slices.Contains(helperNames, c.Name) || slices.ContainsFunc(helpers, func(p Pattern) bool { return p.Matches(c) })
}

// IsSingleton tells whether the container is an S3 client of which two must never
// run at once: a Thanos compactor.
func IsSingleton(c Container, nameLabel string) bool {
	return IsClient(c, nameLabel) && slices.ContainsFunc(commandLines(c.Command, c.Args), func(l commandLine) bool {
		return slices.ContainsFunc(products, func(p product) bool {
			return len(p.singletons) > 0 && slices.Contains(p.singletons, p.subcommand(l.args))
		})
	})
}

// isClientInOwnImage judges a command line in an image of the product, where
// the entrypoint, a script and the product's own arguments stand for the product.
func (p product) isClientInOwnImage(l commandLine) bool {
	own := l.program == "" || p.runs(l.program) || strings.HasSuffix(l.program, ".sh") || p.hasOwnArguments(l.args)
	return own && p.isClient(l.args)
}

func isClientByCommand(l commandLine) bool {
	for _, p := range products {
		if p.runs(l.program) {
			return p.isClient(l.args)
		}
	}
	if !hasObjstoreFlag(l.args) {
		return false
	}
	return slices.ContainsFunc(products, func(p product) bool { return p.subcommands != nil && p.isClient(l.args) })
}

func isClientByLabel(l commandLine, nameLabel string) bool {
	return slices.ContainsFunc(products, func(p product) bool {
		return slices.Contains(p.images, nameLabel) && p.hasOwnArguments(l.args) && p.isClient(l.args)
	})
}

func (p product) runs(program string) bool {
	return slices.Contains(p.executables, baseName(program))
}

// isClient tells whether the product, called with these arguments, talks to
// the object store.
func (p product) isClient(args []string) bool {
	if p.subcommands == nil {
		return p.isClientTarget(args)
	}
	need, known := p.subcommands[p.subcommand(args)]
	switch {
	case !known, need == withObjstoreFlag:
		return hasObjstoreFlag(args)
	default:
		return need == always
	}
}

// isClientTarget reads -target as the flag package of the standard library
// does: the last one counts.
func (p product) isClientTarget(args []string) bool {
	target := ""
	for i := range args {
		if name, value := flagValue(args, i); name == targetFlag {
			target = value
		}
	}
	for part := range strings.SplitSeq(target, ",") {
		if !slices.Contains(p.nonClientTargets, part) {
			return true
		}
	}
	return false
}

// subcommand returns the first word that is neither a flag nor the value of a
// global flag, with the second behind it where the table knows the pair.
func (p product) subcommand(args []string) string {
	var words []string
	for i := 0; i < len(args); i++ {
		if !strings.HasPrefix(args[i], "-") {
			words = append(words, args[i])
		} else if len(words) < 2 && slices.Contains(globalValueFlags, strings.TrimPrefix(args[i], "--")) {
			i++
		}
	}
	if len(words) == 0 {
		return ""
	}
	if len(words) > 1 {
		if nested := words[0] + " " + words[1]; p.subcommands[nested] != never {
			return nested
		}
	}
	return words[0]
}

// hasOwnArguments tells whether the arguments can only be the product's.
func (p product) hasOwnArguments(args []string) bool {
	if p.subcommands != nil {
		_, known := p.subcommands[p.subcommand(args)]
		return known || hasObjstoreFlag(args)
	}
	for i, arg := range args {
		if name, _ := flagValue(args, i); slices.Contains(ownFlags, name) && !strings.HasPrefix(arg, "--") {
			return true
		}
	}
	return false
}

// hasObjstoreFlag tells whether an object store is configured; a flag with an
// empty value configures none.
func hasObjstoreFlag(args []string) bool {
	for i, arg := range args {
		name, value := flagValue(args, i)
		if strings.HasPrefix(arg, "--") && value != "" && slices.Contains(objstoreFlags, name) {
			return true
		}
	}
	return false
}

// flagValue splits args[i] into a flag's name, without dashes, and its value:
// what stands behind "=", else the next argument. The name is empty where
// args[i] is no flag.
func flagValue(args []string, i int) (name, value string) {
	trimmed := strings.TrimPrefix(strings.TrimPrefix(args[i], "-"), "-")
	if trimmed == args[i] || trimmed == "" {
		return "", ""
	}
	name, value, inline := strings.Cut(trimmed, "=")
	if !inline && i+1 < len(args) {
		value = args[i+1]
	}
	return name, value
}

// imageName returns the last path element of an image without registry, tag and
// digest: "thanos" of quay.io/thanos/thanos:v0.39.2@sha256:….
func imageName(image string) string {
	return baseName(repository(image))
}

// repository cuts tag and digest off an image.
func repository(image string) string {
	image, _, _ = strings.Cut(image, "@")
	if colon := strings.LastIndexByte(image, ':'); colon > strings.LastIndexByte(image, '/') {
		image = image[:colon]
	}
	return image
}
