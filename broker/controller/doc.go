// Package controller decides what the cluster should look like: which broker leads which partition, where
// replicas go, how topics are made, grown, configured and deleted, and who owns which coordinator shard.
//
// Every broker runs a Controller; the one that holds the ctl key acts and the others stand by with a warm
// image. Decisions are pure functions of an image (elect.go, reassign.go, depart.go,
// balance.go, shards.go, place.go, topics.go, settings.go); the
// Controller feeds them events and commits what they say in guarded, batched transactions, from one goroutine.
// Here does not belong what the facts look like in the key space (metadata), nor carrying them out on a
// broker (broker).
//
// A controller that has been deposed and does not know yet does no harm: every transaction compares the ctl
// key's create revision and the revision of each record it was decided on. A controller that dies between two
// transactions leaves nothing half done: a topic is one transaction, and whatever an event calls for beyond
// one is seen again in the image by the next controller.
package controller
