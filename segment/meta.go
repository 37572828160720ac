package segment

import (
	"errors"
	"fmt"
	"io/fs"

	"firn/segment/vfs"
)

// meta says whose directory it is.
type meta struct {
	id      [16]byte
	cluster string
	broker  int32
	epoch   int64 // of the broker's last run, -1 for none
}

func (m meta) encode() []byte {
	b := append([]byte(nil), m.id[:]...)
	b = appendU32(b, uint32(m.broker))
	b = appendI64(b, m.epoch)
	return wrap(kindMeta, appendBytes(b, []byte(m.cluster)))
}

func decodeMeta(b []byte) (m meta, err error) {
	d := decoder{b: b}
	copy(m.id[:], d.take(len(m.id)))
	m.broker, m.epoch, m.cluster = int32(d.u32()), d.i64(), string(d.bytes())
	return m, d.err()
}

func readMeta(fsys vfs.FS, name string) (m meta, err error) {
	b, err := readEnvelope(fsys, name, kindMeta)
	if err != nil {
		return m, err
	}
	if m, err = decodeMeta(b); err != nil {
		err = &CorruptionError{Path: name, Err: err}
	}
	return m, err
}

// match tells whether the directory is that of the broker in o. A directory made before the cluster
// had an id adopts the first that it sees.
func (m *meta) match(o DiskOptions) (adopted bool, err error) {
	if o.ClusterID != "" && m.cluster != "" && o.ClusterID != m.cluster {
		return false, fmt.Errorf("%w: it is of cluster %s, this is %s", ErrForeign, m.cluster, o.ClusterID)
	}
	if o.BrokerID != m.broker {
		return false, fmt.Errorf("%w: it is of broker %d, this is %d", ErrForeign, m.broker, o.BrokerID)
	}
	if m.cluster != "" || o.ClusterID == "" {
		return false, nil
	}
	m.cluster = o.ClusterID
	return true, nil
}

// readClean tells whether the run of the broker epoch given ended in order.
func readClean(fsys vfs.FS, name string, epoch int64) (bool, error) {
	b, err := readEnvelope(fsys, name, kindClean)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, ErrCorrupt):
		return false, nil
	case err != nil:
		return false, err
	}
	d := decoder{b: b}
	return d.i64() == epoch && d.err() == nil, nil
}

func writeClean(fsys vfs.FS, name string, epoch int64) error {
	if err := vfs.WriteAtomic(fsys, name, wrap(kindClean, appendI64(nil, epoch))); err != nil {
		return fmt.Errorf("write clean mark: %w", err)
	}
	return nil
}
