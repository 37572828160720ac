package bench

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// seeks measures how many GETs a seek by time into the tier takes until it has data, and how long, on a
// broker that has not read those segments yet.
func (n *node) seeks(ctx context.Context, topic string, to int64, times []int64) (*Section, error) {
	s := &Section{Name: "seek by time into the tier", Setting: "a broker that was just started; each seek goes to another segment; until the first batch has been read; of the manifest's own objects none is counted"}
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

// seekMetrics count what a read of the tier asks of the bucket: footers and blocks. The counter of all GETs has the
// manifest's in it, which the collector reads at the same time.
var seekMetrics = []string{"firn_tiering_footer_gets_total", "firn_tiering_gets_total"}

// gets is how often the broker's reads of the tier have asked the bucket for footers and blocks.
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
	return sumOf(resp.Body, seekMetrics)
}

// sumOf adds up metrics without labels, all of which must be there.
func sumOf(text io.Reader, names []string) (float64, error) {
	sum, found := 0.0, 0
	lines := bufio.NewScanner(text)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if !slices.Contains(names, name) {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0, fmt.Errorf("metric %s: %w", name, err)
		}
		sum += v
		found++
	}
	if found != len(names) {
		return 0, errors.Join(fmt.Errorf("%d of the metrics %s", found, strings.Join(names, ", ")), lines.Err())
	}
	return sum, lines.Err()
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
