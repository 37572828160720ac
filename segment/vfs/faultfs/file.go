package faultfs

import (
	"errors"

	"firn/segment/vfs"
)

// faultFile passes the hints, Name and Fd through.
type faultFile struct {
	vfs.File
	inject *Injector
}

func (f *faultFile) ReadAt(p []byte, off int64) (int, error) {
	if _, err := f.inject.before(ReadAt, f.Name()); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, off)
}

func (f *faultFile) WriteAt(p []byte, off int64) (int, error) {
	r, err := f.inject.before(WriteAt, f.Name())
	if err != nil {
		n, werr := f.File.WriteAt(p[:min(r.Short, len(p))], off)
		return n, errors.Join(err, werr)
	}
	return f.File.WriteAt(p, off)
}

func (f *faultFile) WriteV(bufs [][]byte, off int64) (int64, error) {
	r, err := f.inject.before(WriteV, f.Name())
	if err == nil {
		return f.File.WriteV(bufs, off)
	}
	var torn [][]byte
	left := r.Short
	for _, p := range bufs {
		p = p[:min(left, len(p))]
		left -= len(p)
		torn = append(torn, p)
	}
	n, werr := f.File.WriteV(torn, off)
	return n, errors.Join(err, werr)
}

func (f *faultFile) Size() (int64, error) {
	if _, err := f.inject.before(Size, f.Name()); err != nil {
		return 0, err
	}
	return f.File.Size()
}

func (f *faultFile) Truncate(size int64) error {
	if _, err := f.inject.before(Truncate, f.Name()); err != nil {
		return err
	}
	return f.File.Truncate(size)
}

func (f *faultFile) Sync() error {
	if _, err := f.inject.before(Sync, f.Name()); err != nil {
		if lossy, ok := f.File.(interface{ FailSync() }); ok {
			lossy.FailSync()
		}
		return err
	}
	return f.File.Sync()
}

// Close closes the file even when it is made to fail, as close(2) does.
func (f *faultFile) Close() error {
	_, err := f.inject.before(Close, f.Name())
	return errors.Join(err, f.File.Close())
}

func (f *faultFile) Map(size int64) (vfs.Mapping, error) {
	if _, err := f.inject.before(Map, f.Name()); err != nil {
		return nil, err
	}
	m, err := f.File.Map(size)
	if err != nil {
		return nil, err
	}
	return &faultMapping{Mapping: m, name: f.Name(), inject: f.inject}, nil
}

type faultMapping struct {
	vfs.Mapping
	name   string
	inject *Injector
}

func (m *faultMapping) CopyAt(p []byte, off int64, cold bool) error {
	if _, err := m.inject.before(CopyAt, m.name); err != nil {
		return err
	}
	return m.Mapping.CopyAt(p, off, cold)
}
