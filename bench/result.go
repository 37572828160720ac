package bench

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Figure is one thing measured, once a round.
type Figure struct {
	Name   string    `json:"name"`
	Unit   string    `json:"unit"`
	Rounds []float64 `json:"rounds"`
}

// add adds a round.
func (f *Figure) add(v float64) { f.Rounds = append(f.Rounds, v) }

// Median is 0 without rounds, as are Min and Max.
func (f *Figure) Median() float64 { return median(f.Rounds) }

// Min is described with Median.
func (f *Figure) Min() float64 {
	if len(f.Rounds) == 0 {
		return 0
	}
	return slices.Min(f.Rounds)
}

// Max is described with Median.
func (f *Figure) Max() float64 {
	if len(f.Rounds) == 0 {
		return 0
	}
	return slices.Max(f.Rounds)
}

func median(list []float64) float64 {
	if len(list) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(list))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// Check compares a value, often a ratio of two figures, with what is aimed at.
type Check struct {
	Name   string    `json:"name"`
	Unit   string    `json:"unit"` // "" for a ratio
	Rounds []float64 `json:"rounds"`
	Limit  float64   `json:"limit"`
	AtMost bool      `json:"at_most"` // else at least
	Value  float64   `json:"value"`   // the median of the rounds
	Pass   bool      `json:"pass"`
}

// newCheck judges the median of rounds. No rounds, or one that is not a number, never passes.
func newCheck(name, unit string, rounds []float64, limit float64, atMost bool) Check {
	c := Check{Name: name, Unit: unit, Rounds: rounds, Limit: limit, AtMost: atMost, Value: median(rounds)}
	valid := len(rounds) > 0 && !slices.ContainsFunc(rounds, func(v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) })
	if !valid {
		c.Value = 0
	}
	c.Pass = valid && (atMost && c.Value <= limit || !atMost && c.Value >= limit)
	return c
}

// ratios divides round by round.
func ratios(a, b *Figure) []float64 {
	out := make([]float64, min(len(a.Rounds), len(b.Rounds)))
	for i := range out {
		out[i] = a.Rounds[i] / b.Rounds[i]
	}
	return out
}

// Section is one comparison.
type Section struct {
	Name    string    `json:"name"`
	Setting string    `json:"setting"` // what was loaded how, durability level first
	Figures []*Figure `json:"figures"`
	Checks  []Check   `json:"checks,omitempty"`
	Notes   []string  `json:"notes,omitempty"`
}

// figure returns the section's figure of that name and makes it if need be.
func (s *Section) figure(name, unit string) *Figure {
	for _, f := range s.Figures {
		if f.Name == name {
			return f
		}
	}
	f := &Figure{Name: name, Unit: unit}
	s.Figures = append(s.Figures, f)
	return f
}

// check judges rounds and remembers the verdict.
func (s *Section) check(name, unit string, rounds []float64, limit float64, atMost bool) {
	s.Checks = append(s.Checks, newCheck(name, unit, rounds, limit, atMost))
}

// note remembers a remark.
func (s *Section) note(format string, args ...any) {
	s.Notes = append(s.Notes, fmt.Sprintf(format, args...))
}

// Report is what a run came to.
type Report struct {
	Started  time.Time  `json:"started"`
	Machine  string     `json:"machine"`
	Sections []*Section `json:"sections"`
}

// Missed is how many checks did not pass.
func (r *Report) Missed() int {
	n := 0
	for _, s := range r.Sections {
		for _, c := range s.Checks {
			if !c.Pass {
				n++
			}
		}
	}
	return n
}

// Percentiles of a latency, in milliseconds.
var percentiles = []struct {
	name string
	at   float64
}{{"p50", 50}, {"p90", 90}, {"p99", 99}, {"p99.9", 99.9}, {"max", 100}}

// Latencies collects durations. It is not safe for concurrent use.
type Latencies struct{ h *hdrhistogram.Histogram }

// maxLatency is what longer ones count as.
const maxLatency = 2 * time.Minute

func newLatencies() *Latencies {
	return &Latencies{hdrhistogram.New(1, maxLatency.Microseconds(), 3)}
}

func (l *Latencies) add(d time.Duration) {
	_ = l.h.RecordValue(min(max(d, time.Microsecond), maxLatency).Microseconds()) // cannot be out of range
}

// At is the latency in milliseconds that so many percent do not exceed.
func (l *Latencies) At(percent float64) float64 {
	return float64(l.h.ValueAtQuantile(percent)) / 1000
}

// Count is how many there are.
func (l *Latencies) Count() int64 { return l.h.TotalCount() }

// addTo adds a round of each percentile.
func (l *Latencies) addTo(s *Section, name string) {
	for _, p := range percentiles {
		s.figure(name+" "+p.name, "ms").add(l.At(p.at))
	}
}

// number writes a figure with as many digits as it deserves.
func number(v float64) string {
	switch a := math.Abs(v); {
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	case a >= 0.1 || a == 0:
		return fmt.Sprintf("%.2f", v)
	default:
		return fmt.Sprintf("%.4f", v)
	}
}

func withUnit(v float64, unit string) string { return strings.TrimSpace(number(v) + " " + unit) }
