// Command ctl is etcd's own etcdctl, built from outside for the reason given in ../server.
package main

import "go.etcd.io/etcd/etcdctl/v3/ctlv3"

func main() { ctlv3.MustStart() }
