// Package etcd is metadata.KV on etcd v3: a cluster elsewhere (Dial), or a one-member server inside this
// process that listens on a unix socket in the data directory and on no port (Embed).
//
// Here belongs how etcd is reached and what its errors mean; what the keys mean is metadata's.
package etcd
