package broker

import (
	"bytes"
	"context"
	"net"
	"os"
	"time"

	"firn/metadata"
	"firn/segment/vfs"
	"firn/tiering/objstore"
	"firn/tiering/objstore/open"
)

// World is all that a broker touches outside of its process. A field that is nil is the real thing; a simulation
// (broker/brokertest/sim) brings its own. Everything is called concurrently. How much time passes is
// package time's to say, which testing/synctest controls.
type World struct {
	// FS holds the log directories, and the cache and the spool of the tier.
	FS vfs.FS
	// DialMetadata opens a connection to the metadata, instead of to the etcd that the settings name. A broker opens
	// two, of which one carries nothing but its lease, and closes them.
	DialMetadata func() (metadata.KV, error)
	// OpenBucket opens what tier.url names, and is not asked where that is none. The broker closes it.
	OpenBucket func(ctx context.Context, url string) (objstore.Bucket, error)
	// Listen and Dial make TCP connections, or what passes for them.
	Listen func(ctx context.Context, network, address string) (net.Listener, error)
	Dial   func(ctx context.Context, network, address string) (net.Conn, error)
	// BootID names the running kernel: another one means that the page cache was lost. Empty where the system does
	// not tell, which counts as another one.
	BootID func() string
	// BootTime is the time since some fixed moment, the time asleep included.
	BootTime func() time.Duration
	// Now is the wall clock, which may jump: it stamps records, and says how old they are and what is in the bucket.
	Now func() time.Time
}

// ensureDefaults fills in the real world, but for DialMetadata, which is the settings', and BootTime, which is
// package metadata's.
func (w *World) ensureDefaults() {
	if w.FS == nil {
		w.FS = vfs.OS()
	}
	if w.OpenBucket == nil {
		w.OpenBucket = open.Open
	}
	if w.Listen == nil {
		w.Listen = new(net.ListenConfig).Listen
	}
	if w.Dial == nil {
		w.Dial = new(net.Dialer).DialContext
	}
	if w.Now == nil {
		w.Now = time.Now
	}
	if w.BootID == nil {
		w.BootID = bootID
	}
}

// bootID is the kernel's own name for this boot.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return string(bytes.TrimSpace(b))
}
