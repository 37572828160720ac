// Command server is etcd's own server: its module's go install is refused because of replace
// directives, so this builds it from outside.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
