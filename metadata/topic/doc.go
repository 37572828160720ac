// Package topic holds the words for a topic: its identity, its partitions, its name and its settings.
//
// Here belong the identifier that directories, object keys and etcd keys carry, the rules a name must
// keep, and the table of every topic setting with its type, default, meaning and server-level synonyms.
// Here does not belong anything that reads or writes a topic, nor the broker's own settings: the
// server-level values a topic falls back to are passed in as Defaults.
//
// Everything here is a value or an immutable table, safe for concurrent use without locks.
package topic
