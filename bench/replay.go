package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Replay reads a partition by plain fetch requests and looks at no more of what it gets than where to go
// on, so that a reader costs as little beside a broker as beside a probe.
type Replay struct {
	Cluster    Cluster
	Topic      string
	Partition  int32
	From, To   int64
	Rate       float64 // bytes of batches a second, 0 as fast as may be
	FetchBytes int     // 1 MiB if 0, as clients have it
	Into       io.Writer
}

// fetchVersion is the last one without sessions being needed, topic ids or compact encodings.
const fetchVersion = 11

// Run reads to To. Moved.Bytes counts batches, those before an error included.
func (r *Replay) Run(ctx context.Context) (Moved, error) {
	addr, err := r.Cluster.leader(ctx, r.Topic, r.Partition)
	if err != nil {
		return Moved{}, err
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return Moved{}, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	fetch := r.FetchBytes
	if fetch == 0 {
		fetch = DefaultFetch
	}
	f := &fetcher{conn: conn, topic: r.Topic, partition: r.Partition, max: int32(fetch)}
	began := time.Now()
	var m Moved
	for at := r.From; at < r.To; {
		batches, err := f.fetch(at)
		if err != nil {
			return m, errors.Join(fmt.Errorf("replay %s-%d at %d: %w", r.Topic, r.Partition, at, err), ctx.Err())
		}
		whole := 0
		for len(batches)-whole >= batchHeader {
			_, size, next := batchSpan(batches[whole:])
			if size > len(batches)-whole {
				break
			}
			whole, at = whole+size, next
			if at >= r.To {
				break
			}
		}
		m.Bytes += int64(whole)
		if r.Into != nil {
			if _, err := r.Into.Write(batches[:whole]); err != nil {
				return m, err
			}
		}
		if err := keepPace(ctx, began, m.Bytes, r.Rate); err != nil {
			return m, err
		}
	}
	m.Records, m.Elapsed = r.To-r.From, time.Since(began)
	return m, nil
}

// fetcher asks for one partition, one request at a time.
type fetcher struct {
	conn        net.Conn
	topic       string
	partition   int32
	max         int32
	correlation uint32
	out, in     []byte
}

// fetch returns batches that are good until the next call.
func (f *fetcher) fetch(at int64) ([]byte, error) {
	req := kmsg.NewPtrFetchRequest()
	req.Version = fetchVersion
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.SessionEpoch = 1000, 1, 50<<20, -1
	t, p := kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
	t.Topic = f.topic
	p.Partition, p.FetchOffset, p.PartitionMaxBytes = f.partition, at, f.max
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	f.correlation++
	f.out = append(f.out[:0], 0, 0, 0, 0, 0, 1, 0, fetchVersion)
	f.out = binary.BigEndian.AppendUint32(f.out, f.correlation)
	f.out = append(append(f.out, 0, 10), "firn-bench"...)
	f.out = req.AppendTo(f.out)
	binary.BigEndian.PutUint32(f.out, uint32(len(f.out)-4))
	if _, err := f.conn.Write(f.out); err != nil {
		return nil, err
	}
	var head [4]byte
	if _, err := io.ReadFull(f.conn, head[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint32(head[:]))
	if n > maxProbeFrame {
		return nil, fmt.Errorf("response of %d bytes", n)
	}
	if cap(f.in) < n {
		f.in = make([]byte, n+n/4)
	}
	if _, err := io.ReadFull(f.conn, f.in[:n]); err != nil {
		return nil, err
	}
	resp := kmsg.NewPtrFetchResponse()
	resp.Version = fetchVersion
	if err := resp.ReadFrom(f.in[4:n]); err != nil {
		return nil, err
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return nil, err
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return nil, errors.New("response is not about the one partition asked for")
	}
	got := &resp.Topics[0].Partitions[0]
	return got.RecordBatches, kerr.ErrorForCode(got.ErrorCode)
}

// readStream reads all that a relay probe sends, at a rate or as fast as may be.
func readStream(ctx context.Context, addr string, rate float64) (Moved, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return Moved{}, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	began := time.Now()
	var m Moved
	buf := make([]byte, DefaultFetch)
	for {
		n, err := io.ReadFull(conn, buf)
		m.Bytes += int64(n)
		if err != nil {
			m.Elapsed = time.Since(began)
			return m, errors.Join(ignoreGone(err), ctx.Err())
		}
		if err := keepPace(ctx, began, m.Bytes, rate); err != nil {
			return m, err
		}
	}
}
