// Package gc deletes from the object store what nobody refers to: segments past their retention, objects
// of uploads that never were committed, everything of a deleted topic. It also keeps the catalog by which
// a bucket describes itself.
//
// What belongs here: the plan of what expires (pure), the loops that carry it out, the search for orphans,
// the catalog. What does not: the writing of manifests (tiering.Archive does that), local retention.
//
// The rule that makes it safe: an object is deleted only when a committed trash list names it, or when a
// proof shows that no manifest can ever name it.
package gc
