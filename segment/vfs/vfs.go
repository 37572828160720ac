// Package vfs is the file system that all of Firn's disk code writes through, so that a crash, a
// full disk or a failing sync is a unit test.
//
// What belongs here: files, directories, mappings, durability of both. What does not: any knowledge
// of segments, indexes or Kafka.
package vfs

import (
	"errors"
	"io"
	"io/fs"
)

var (
	// ErrLocked is returned by Lock when another process (or another FS user) holds the lock.
	ErrLocked = errors.New("vfs: locked by another process")
	// ErrNoMapping is returned by File.Map where memory mapping is not to be had; callers fall back
	// to ReadAt.
	ErrNoMapping = errors.New("vfs: mapping not supported")
)

// FS is a file system. Implementations are safe for concurrent use. Paths use the host's separator.
// An error wraps the matching fs.Err* sentinel where there is one.
type FS interface {
	// Create makes a new file for reading and writing and fails with fs.ErrExist if the name is
	// taken. The name survives a power cut only after SyncDir of its directory.
	Create(name string) (File, error)
	// Open opens an existing file for reading only.
	Open(name string) (File, error)
	// OpenRW opens an existing file for reading and writing.
	OpenRW(name string) (File, error)
	Remove(name string) error
	RemoveAll(name string) error
	// Rename replaces newName atomically; durable after SyncDir of the directory.
	Rename(oldName, newName string) error
	// MkdirAll makes dir and its missing parents and syncs the directories that these are in, that of
	// dir even if it was there: it may be the trace of a process that was killed before its sync.
	MkdirAll(dir string) error
	// ReadDir returns the names in dir, sorted.
	ReadDir(dir string) ([]fs.DirEntry, error)
	Stat(name string) (fs.FileInfo, error)
	// SyncDir makes creations, removals and renames in dir survive a power cut.
	SyncDir(dir string) error
	// Lock takes an exclusive advisory lock on name, creating it, until the returned Closer is
	// closed or the process ends. ErrLocked if someone else holds it.
	Lock(name string) (io.Closer, error)
	// Usage says how full the disk under dir is.
	Usage(dir string) (Usage, error)
}

// Usage is a disk's size and what is left of it for us, in bytes.
type Usage struct {
	Total, Free int64
}

// File is an open file. ReadAt, WriteAt, WriteV and Sync may be called concurrently; positions are
// always explicit, there is no file cursor.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// WriteV writes bufs one after the other from position off as one pwritev where the system has
	// it. A short write returns the bytes written and an error. It does not keep bufs.
	WriteV(bufs [][]byte, off int64) (int64, error)
	Name() string
	Size() (int64, error)
	Truncate(size int64) error
	// Sync makes the file's bytes and size survive a power cut (fdatasync). After an error the
	// unsynced bytes must be taken for lost: a later nil proves nothing about them.
	Sync() error
	// Map maps the first size bytes read-only; size may lie beyond the end of the file, bytes
	// beyond it must not be touched. ErrNoMapping where not supported.
	Map(size int64) (Mapping, error)
	// WriteBack starts writing [off, off+n) to the disk without waiting. A hint.
	WriteBack(off, n int64)
	// Reserve sets blocks of the disk aside for [off, off+n), which lies behind the file's end: writes there need not look
	// for any. Its size stays as it is. Truncate gives back what lies behind the new end, also if the size is the old one. A hint.
	Reserve(off, n int64)
	// DropCache tells the kernel that [off, off+n) will not be read soon; n = 0 means to the end.
	// Only clean pages go. A hint.
	DropCache(off, n int64)
	// Fd is the descriptor for sendfile; false where the file is not a kernel file.
	Fd() (uintptr, bool)
}

// Mapping is a read-only view of a file. Mapped bytes are indexable only inside package vfs: callers
// copy out what they need, after the page has been populated, so that no cold page fault ever holds
// a scheduler slot and no truncated file raises SIGBUS.
type Mapping interface {
	// CopyAt copies len(p) bytes from position off into p. With cold true the pages are first
	// brought in by a call that returns an error instead of faulting.
	CopyAt(p []byte, off int64, cold bool) error
	Close() error
}
