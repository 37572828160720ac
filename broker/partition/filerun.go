package partition

import (
	"sync"

	"firn/segment"
)

// fileRun is an extent of a segment file in memory that is used again.
type fileRun struct {
	ext segment.Extent
}

var _ Extent = (*fileRun)(nil)

var fileRuns = sync.Pool{New: func() any { return new(fileRun) }}

func newFileRun() *fileRun { return fileRuns.Get().(*fileRun) }

func (f *fileRun) Len() int                                { return f.ext.Len() }
func (f *fileRun) File() (fd uintptr, pos int64, ok bool)  { return f.ext.File() }
func (f *fileRun) ReadAt(p []byte, off int64) (int, error) { return f.ext.ReadAt(p, off) }

func (f *fileRun) Release() {
	f.ext.Release()
	f.ext = segment.Extent{}
	fileRuns.Put(f)
}
