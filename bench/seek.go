package bench

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// seeks measures how many GETs a seek by time into the tier takes until it has data, and how long, on a
// broker that has not read those segments yet.
func (n *node) seeks(ctx context.Context, topic string, to int64, times []int64) (*Section, error) {
	s := &Section{Name: "seek by time into the tier", Setting: "a broker that was just started; each seek goes to another segment; until the first batch has been read"}
	for _, ts := range times {
		before, err := n.gets(ctx)
		if err != nil {
			return nil, err
		}
		began := time.Now()
		at, err := n.cluster.offsets(ctx, topic, ts)
		if err != nil {
			return nil, err
		}
		found := time.Since(began)
		if at[0] < 0 || at[0] >= to {
			return nil, fmt.Errorf("time %d is offset %d, which is not in the tier", ts, at[0])
		}
		began = time.Now()
		if _, err := (&Replay{Cluster: n.cluster, Topic: topic, From: at[0], To: at[0] + 1}).Run(ctx); err != nil {
			return nil, err
		}
		after, err := n.gets(ctx)
		if err != nil {
			return nil, err
		}
		s.figure("offset of a time", "ms").add(found.Seconds() * 1000)
		s.figure("first fetch there", "ms").add(time.Since(began).Seconds() * 1000)
		s.figure("GETs", "").add(after - before)
	}
	s.check("GETs before data", "", s.figure("GETs", "").Rounds, limitSeekGets, true)
	return s, nil
}

// getsMetric counts ranged reads of a broker's bucket.
const getsMetric = `firn_objstore_operations_total{op="get"}`

// gets is how often the broker has read from its bucket.
func (n *node) gets(ctx context.Context) (float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.console+"/metrics", http.NoBody)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if v, ok := strings.CutPrefix(lines.Text(), getsMetric+" "); ok {
			return strconv.ParseFloat(v, 64)
		}
	}
	return 0, errors.Join(fmt.Errorf("no metric %s", getsMetric), lines.Err())
}

// timeOf is the timestamp of the batch with an offset, in milliseconds.
func (n *node) timeOf(ctx context.Context, topic string, offset int64) (int64, error) {
	var head batchTimes
	_, err := (&Replay{Cluster: n.cluster, Topic: topic, From: offset, To: offset + 1, Into: &head}).Run(ctx)
	return head.max, err
}

// batchTimes reads the greatest timestamp of the first batch that is written to it.
type batchTimes struct{ max int64 }

// maxTimeAt is where a batch has its greatest timestamp.
const maxTimeAt = 35

func (b *batchTimes) Write(p []byte) (int, error) {
	if b.max == 0 && len(p) >= batchHeader {
		b.max = int64(binary.BigEndian.Uint64(p[maxTimeAt:]))
	}
	return len(p), nil
}
