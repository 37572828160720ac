// Package group is consumer groups: who is in one, who reads what, and how far they have read.
//
// What belongs here: the Machine (every group of one shard, pure: state, input and the time go in;
// edits and replies come out), how a group is written down, and the Coordinator that gives each shard
// of the coordinator.Runtime such a machine. What does not: etcd (package metadata), event loops
// and write batching (package coordinator), versions of the protocol (package api).
//
// The words are Kafka's. A group is Empty, PreparingRebalance, CompletingRebalance, Stable or Dead; a
// member joins, syncs, heartbeats and leaves; the generation counts completed joins. The
// assignment is the client leader's, kept verbatim.
package group

//go:generate protoc --go_out=../.. --go_opt=module=firn state.proto
