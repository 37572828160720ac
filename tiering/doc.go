// Package tiering moves sealed segments into the object store, commits them to the partition's manifest,
// and reads them back.
//
// What belongs here: the object format (FORMAT.md) and its encoder and decoder, the names of objects, the
// one writer of a manifest (Archive), the Uploader, the Reader with its read-ahead and budgets, and the
// rule for when local bytes may go (LocalFloor). What does not: what a manifest is and how it may change
// (manifest), the store itself (objstore), what is deleted and when (gc), who leads a partition (broker).
package tiering
