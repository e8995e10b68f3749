// Command etcd is the etcd server of the version that go.mod pins, for the
// API server that tests and the demo run against.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
