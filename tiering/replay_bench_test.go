package tiering_test

import (
	"context"
	"testing"
	"time"

	"firn/metadata/topic"
	"firn/segment/vfs"
	"firn/tiering"
	"firn/tiering/manifest"
	"firn/tiering/objstore/mem"
	"firn/tiering/tiertest"
)

// BenchmarkReplay reads a partition from a bucket in memory: what the Reader costs without the network.
// Against a real object store, beside probes, it is measured in bench.
func BenchmarkReplay(b *testing.B) {
	for name, random := range map[string]bool{"json": false, "random": true} {
		b.Run(name, func(b *testing.B) {
			bucket, anchor := mem.New(), tiertest.NewAnchor(1)
			log := tiertest.NewLog(1, 0)
			log.Random, log.Forget = random, true
			for range 4 {
				log.AppendSegment(16<<20, 256, 950)
			}
			head := benchArchive(b, bucket, anchor, log)
			r, err := tiering.NewReader(tiering.ReaderOptions{Bucket: bucket, Anchor: anchor, Cluster: cluster})
			if err != nil {
				b.Fatal(err)
			}
			defer r.Close()
			b.SetBytes(head.RawBytes)
			b.ReportAllocs()
			for b.Loop() {
				for offset := int64(0); offset < head.TierEnd; {
					d, err := r.Read(context.Background(), partition(0), head, offset, 1<<20)
					if err != nil {
						b.Fatal(err)
					}
					offset = d.Next
					d.Release()
				}
			}
		})
	}
}

func benchArchive(b *testing.B, bucket *mem.Bucket, anchor *tiertest.Anchor, log *tiertest.Log) *manifest.Head {
	b.Helper()
	committed := make(chan manifest.Head, 100)
	u, err := tiering.NewUploader(tiering.UploaderOptions{
		Bucket: bucket, Anchor: anchor, Cluster: cluster, BrokerEpoch: func() int64 { return 1 }, FS: vfs.OS(), SpoolDir: b.TempDir(),
		OnCommit: func(_ topic.Partition, h manifest.Head) { committed <- h },
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = u.Run(ctx)
	}()
	p := u.Register(partition(0), 1, log, tiering.Limits{})
	for {
		select {
		case h := <-committed:
			if h.TierEnd == log.Next() {
				p.Close()
				cancel()
				<-done
				return &h
			}
		case <-ctx.Done():
			b.Fatal(ctx.Err())
		}
	}
}
