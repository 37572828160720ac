// Package manifest describes what a partition has in the object store, and how that description may
// change.
//
// The description is a tree of three storeys. The head (at most about 1.5 KB, kept outside the bucket
// behind a compare-and-swap) holds the log start, the end of the tier and the newest segments. The root
// (an immutable object) holds references to pages, the segments that are not in a page yet, and the
// trash. A page (an immutable object) holds 4,096 segments. Only the head ever changes; it names its
// root, the root names its pages.
//
// What belongs here: the types, the pure edits on them (Append, Start, Fence, Fold), lookups by offset
// and time, the versioned codecs. What does not: reading or writing objects, clocks, goroutines,
// knowledge of who may write (tiering has those).
//
// Everything is a plain value; functions do not keep or change what they are given, unless they say so.
package manifest
