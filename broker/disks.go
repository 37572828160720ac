package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"firn/segment"
)

func (b *Broker) startDisks(context.Context, context.Context) error {
	clean := func(d *segment.Disk) func(context.Context) {
		return func(context.Context) {
			if err := d.Close(d.Offline() == nil); err != nil {
				b.log.Error("close log directory", "dir", d.Dir(), "error", err)
			}
		}
	}
	for _, dir := range b.cfg.LogDirs {
		d, err := segment.OpenDisk(segment.DiskOptions{
			FS: b.world.FS, Dir: dir, ClusterID: b.store.Image().Cluster().ID, BrokerID: b.cfg.NodeID,
			Files: int(b.cfg.Log.OpenFiles), Mappings: int(b.cfg.Log.Mappings), Share: len(b.cfg.LogDirs), Thresholds: b.cfg.Disk,
			OnOffline: func(err error) { b.diskOffline(dir, err) },
			Logger:    b.log, Registerer: prometheus.WrapRegistererWith(prometheus.Labels{"dir": dir}, b.reg),
		})
		if err != nil {
			return err
		}
		b.disks = append(b.disks, d)
		b.undo(clean(d))
	}
	return nil
}

// diskOffline stops the broker when its last disk has failed: it can serve nothing, and a supervisor
// that starts it again may find the disk mended.
func (b *Broker) diskOffline(dir string, err error) {
	b.log.Error("log directory is offline", "dir", dir, "error", err)
	for _, d := range b.disks {
		if d.Offline() == nil {
			return
		}
	}
	b.fail(fmt.Errorf("all log directories are offline: %w", err))
}

// keepEpoch records a registration's epoch on every disk that is online. One that has failed does without, and will be taken
// for an old copy when it is there again: what it had may have gone on elsewhere meanwhile.
func keepEpoch(disks []*segment.Disk, epoch int64) error {
	kept := 0
	var errs []error
	for _, d := range disks {
		err := d.SetBrokerEpoch(epoch)
		switch {
		case err == nil:
			kept++
		case d.Offline() == nil:
			return err
		}
		errs = append(errs, err)
	}
	if kept == 0 {
		return errors.Join(errs...)
	}
	return nil
}
