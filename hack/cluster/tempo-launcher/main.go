// Command tempo-launcher starts Tempo without the flag -mem-ballast-size-mbs,
// which tempo-operator gives to every Tempo and which newer ones do not know.
package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
)

func main() {
	args := slices.DeleteFunc(os.Args, func(arg string) bool { return strings.HasPrefix(arg, "-mem-ballast-size-mbs") })
	args[0] = "/bin/tempo"
	fmt.Fprintln(os.Stderr, "tempo-launcher:", syscall.Exec(args[0], args, os.Environ())) // it returns only an error
	os.Exit(1)
}
