package tiering_test

import (
	"context"
	"errors"
	"hash/crc32"
	"io"
	"net"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/pierrec/lz4/v4"

	"firn/segment/vfs"
	"firn/tiering"
	"firn/tiering/manifest"
	"firn/tiering/objstore/minio"
	"firn/tiering/objstore/objtest"
	"firn/tiering/tiertest"
)

// coldData is a partition in a real object store.
type coldData struct {
	w    *world
	head *manifest.Head
}

// coldSetup uploads FIRN_COLD_MIB (default 256) of one kilobyte records in batches of 256 KB and segments of
// 64 MiB to a MinIO.
func coldSetup(b *testing.B, random bool) *coldData {
	b.Helper()
	srv := objtest.StartMinIO(b)
	bucket, err := minio.Open(context.Background(), minio.Options{Endpoint: srv.Endpoint, Bucket: "cold", AccessKey: srv.AccessKey, SecretKey: srv.SecretKey})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = bucket.Close() })
	mib := 256
	if v, err := strconv.Atoi(os.Getenv("FIRN_COLD_MIB")); err == nil {
		mib = v
	}
	w := &world{anchor: tiertest.NewAnchor(1), bucket: bucket, changed: make(chan struct{}, 1)}
	log := tiertest.NewLog(1, 0)
	log.Random = random
	log.Forget = true
	up, err := tiering.NewUploader(tiering.UploaderOptions{
		Bucket: bucket, Anchor: w.anchor, Cluster: cluster, BrokerEpoch: func() int64 { return 1 }, FS: vfs.OS(), SpoolDir: b.TempDir(),
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = up.Run(ctx) }()
	p := up.Register(partition(0), 1, log, tiering.Limits{})
	begun := time.Now()
	spent := time.Duration(0)
	for n := 0; n < mib; n += 64 {
		log.AppendSegment(64<<20-300_000, 256, 950)
		at := time.Now()
		p.Sealed()
		for p.Archive().ProvenTierEnd() < log.Next() {
			time.Sleep(time.Millisecond)
		}
		spent += time.Since(at)
		log.Drop(log.Next())
	}
	p.Close()
	cancel()
	<-done
	raw, _, err := w.anchor.Load(context.Background(), partition(0))
	if err != nil {
		b.Fatal(err)
	}
	head, err := manifest.DecodeHead(raw)
	if err != nil {
		b.Fatal(err)
	}
	b.Logf("%d MiB as %d MiB in %s, uploads %.0f MB/s", head.RawBytes>>20, head.StoredBytes>>20, time.Since(begun), float64(head.RawBytes)/1e6/spent.Seconds())
	return &coldData{w: w, head: &head}
}

// sink is a loopback connection whose other end reads everything.
func sink(b *testing.B) (net.Conn, func() int64) {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	total := make(chan int64, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			total <- 0
			return
		}
		buf := make([]byte, 256<<10)
		n := int64(0)
		for {
			m, err := c.Read(buf)
			n += int64(m)
			if err != nil {
				break
			}
		}
		_ = c.Close()
		total <- n
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	return c, func() int64 {
		_ = c.Close()
		_ = l.Close()
		return <-total
	}
}

// relayGet is a ranged GET of the probe, and what its blocks hold.
type relayGet struct {
	key    string
	blocks []tiering.Block
}

func (d *coldData) relayGets(b *testing.B) []relayGet {
	var out []relayGet
	for _, s := range d.head.Tail {
		f, err := tiering.ReadFooter(context.Background(), d.w.bucket, tiering.Keys{Cluster: cluster}, partition(0), s)
		if err != nil {
			b.Fatal(err)
		}
		for i := 0; i < len(f.Blocks); i += 16 {
			out = append(out, relayGet{tiering.Keys{Cluster: cluster}.Segment(partition(0), s), f.Blocks[i:min(i+16, len(f.Blocks))]})
		}
	}
	return out
}

// relay makes the GETs eight at a time and gives each body, in order, to the loopback reader; with decode
// checksums and lz4 too.
func (d *coldData) relay(b *testing.B, gets []relayGet, decode bool) {
	ctx := context.Background()
	conn, end := sink(b)
	defer end()
	type result struct {
		data []byte
		err  error
	}
	pool := sync.Pool{New: func() any { p := make([]byte, 5<<20); return &p }}
	results := make([]chan result, len(gets))
	for i := range results {
		results[i] = make(chan result, 1)
	}
	slots := make(chan struct{}, 8)
	go func() {
		for i, g := range gets {
			slots <- struct{}{}
			go func() {
				first, last := g.blocks[0], g.blocks[len(g.blocks)-1]
				rc, err := d.w.bucket.Get(ctx, g.key, int64(first.Pos), int64(last.Pos+last.Len-first.Pos))
				if err != nil {
					results[i] <- result{err: err}
					return
				}
				defer rc.Close()
				raw := *pool.Get().(*[]byte)
				if !decode {
					n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, rc, raw)
					results[i] <- result{raw[:0:len(raw)], err}
					_ = n
					return
				}
				packed := *pool.Get().(*[]byte)
				defer func() { pool.Put(&packed) }()
				n, at := int(last.Pos+last.Len-first.Pos), 0
				if _, err := io.ReadFull(rc, packed[:n]); err != nil {
					results[i] <- result{err: err}
					return
				}
				for _, e := range g.blocks {
					p := packed[e.Pos-first.Pos:][:e.Len]
					if crc32.Checksum(p, castagnoli) != e.CRC {
						err = errors.New("checksum")
					}
					if e.Codec == 0 {
						copy(raw[at:], p)
					} else if _, derr := lz4.UncompressBlock(p, raw[at:at+int(e.RawLen)]); derr != nil {
						err = derr
					}
					at += int(e.RawLen)
				}
				results[i] <- result{raw[:at], err}
			}()
		}
	}()
	for i := range gets {
		r := <-results[i]
		if r.err != nil {
			b.Fatal(r.err)
		}
		if decode {
			if _, err := conn.Write(r.data); err != nil {
				b.Fatal(err)
			}
		}
		full := r.data[:cap(r.data)]
		pool.Put(&full)
		<-slots
	}
}

func (d *coldData) replayTo(b *testing.B, r *tiering.Reader, maxBytes int) {
	conn, end := sink(b)
	defer end()
	ctx := context.Background()
	for offset := int64(0); offset < d.head.TierEnd; {
		data, err := r.Read(ctx, partition(0), d.head, offset, maxBytes)
		if err != nil {
			b.Fatal(err)
		}
		bufs := make(net.Buffers, 0, len(data.Slabs))
		for _, s := range data.Slabs {
			bufs = append(bufs, s.Bytes())
		}
		if _, err := bufs.WriteTo(conn); err != nil {
			b.Fatal(err)
		}
		offset = data.Next
		data.Release()
	}
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// BenchmarkColdReplay compares a replay of one partition from a real MinIO with a bare GET probe and with a
// relay probe that does the same GETs, checksums and decoding.
func BenchmarkColdReplay(b *testing.B) {
	for _, kind := range []string{"json", "random"} {
		b.Run(kind, func(b *testing.B) {
			d := coldSetup(b, kind == "random")
			gets := d.relayGets(b)
			size := d.head.RawBytes
			b.Run("probe=get", func(b *testing.B) {
				b.SetBytes(size)
				for b.Loop() {
					d.relay(b, gets, false)
				}
			})
			b.Run("probe=relay", func(b *testing.B) {
				b.SetBytes(size)
				for b.Loop() {
					d.relay(b, gets, true)
				}
			})
			for _, maxBytes := range []int{1 << 20, 8 << 20} {
				b.Run("reader/max="+strconv.Itoa(maxBytes>>20)+"MiB", func(b *testing.B) {
					b.SetBytes(size)
					b.ReportAllocs()
					r, err := tiering.NewReader(tiering.ReaderOptions{Bucket: d.w.bucket, Anchor: d.w.anchor, Cluster: cluster})
					if err != nil {
						b.Fatal(err)
					}
					defer r.Close()
					for b.Loop() {
						d.replayTo(b, r, maxBytes)
					}
				})
			}
			runtime.GC()
		})
	}
}
