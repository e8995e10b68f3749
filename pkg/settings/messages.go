package settings

import (
	"fmt"
	"strings"
)

// Every sentence about a setting. It follows the field that it is about, names
// the value and what to do.

const (
	emptyList                = "the list is empty; name at least one or remove it"
	emptyArgument            = "an argument is empty; remove it"
	notOneSource             = "name exactly one of secret, configMap and clusterTrustBundle"
	unknownKey               = "there is no such setting; remove it or correct its name"
	namespaceNamesContainers = "a Namespace cannot name containers; use the pod's annotation or a policy"
)

func severalSources(keys []string) string {
	return "more than one source: " + strings.Join(keys, ", ") + "; keep one"
}

func badName(name string) string { return fmt.Sprintf("%q is no valid name", name) }

func badKey(name string) string { return fmt.Sprintf("%q is no valid key", name) }

func badVariable(name string) string {
	return fmt.Sprintf("%q is no valid name of an environment variable", name)
}

func badImage(image string) string {
	return fmt.Sprintf("%q is no repository; write its last path elements, without tag, as in minio/mc", image)
}

func mixedWord(word string) string { return fmt.Sprintf("%q stands alone, not among names", word) }

func relativePath(value string) string {
	return fmt.Sprintf("%q is not absolute; begin it with /", value)
}

func directoryPath(value string) string {
	return fmt.Sprintf("%q is a directory; name a file in it", value)
}

func uncleanPath(value string) string {
	return fmt.Sprintf("%q is not a clean path; write it without //, . and .., : and $", value)
}

func noSuchContainer(name string, has []string) string {
	return fmt.Sprintf("no container %q; the pod has %s", name, strings.Join(has, ", "))
}

// Neither says that a value is none of the two accepted ones.
func Neither(value, a, b string) string {
	return fmt.Sprintf("%q is neither %q nor %q", value, a, b)
}

func tooMany(most int) string { return fmt.Sprintf("there are more than %d; remove some", most) }
