package brokertest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
)

// Tier is what the console says of a partition in both tiers.
type Tier struct {
	Partition     int32 `json:"partition"`
	Leader        int32 `json:"leader"`
	LogStart      int64 `json:"log_start"`
	LocalStart    int64 `json:"local_start"`
	TieredEnd     int64 `json:"tiered_end"`
	HighWatermark int64 `json:"high_watermark"`
	End           int64 `json:"end"`
	LocalSegments int64 `json:"local_segments"`
	LagBytes      int64 `json:"lag_bytes"`

	LagSeconds float64 `json:"lag_seconds"`
	Failures   int     `json:"failures"`
	Error      string  `json:"error"`
}

// Tiers returns the state of a topic's partitions, by number.
func (p *Process) Tiers(topic string) ([]Tier, error) {
	resp, err := http.Get(p.Console + "/v1/tier?topic=" + url.QueryEscape(topic))
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("console: %s", resp.Status)
	}
	var list []Tier
	return list, json.NewDecoder(resp.Body).Decode(&list)
}

// Metric returns the sum of a metric's samples, over all its labels; 0 if there are none.
func (p *Process) Metric(name string) (float64, error) {
	resp, err := http.Get(p.Console + "/metrics")
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	var sum float64
	for line := range strings.Lines(string(body)) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || rest[0] != ' ' && rest[0] != '{' {
			continue
		}
		rest = strings.TrimSpace(rest)
		v, err := strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64)
		if err != nil {
			return 0, fmt.Errorf("metric %q: %w", line, err)
		}
		sum += v
	}
	return sum, nil
}

// Memory is the process's resident memory in bytes, where the system tells.
func (p *Process) Memory() (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.Pid()))
	if err != nil {
		return 0, err
	}
	var size, resident int64
	if _, err := fmt.Sscan(string(b), &size, &resident); err != nil {
		return 0, err
	}
	return resident * int64(os.Getpagesize()), nil
}
