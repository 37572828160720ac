package bench

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"text/tabwriter"
)

// Text writes the section for people.
func (s *Section) Text(out io.Writer) error {
	fmt.Fprintf(out, "%s\n", s.Name)
	if s.Setting != "" {
		fmt.Fprintf(out, "  %s\n", s.Setting)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, f := range s.Figures {
		fmt.Fprintf(w, "  %s\t%s%s\n", f.Name, withUnit(f.Median(), f.Unit), spread(f))
	}
	for _, c := range s.Checks {
		fmt.Fprintf(w, "  %s\t%s\n", c.Name, c.verdict())
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, n := range s.Notes {
		fmt.Fprintf(out, "  %s\n", n)
	}
	_, err := fmt.Fprintln(out)
	return err
}

func spread(f *Figure) string {
	if len(f.Rounds) < 2 {
		return ""
	}
	return fmt.Sprintf("\t(%s to %s)", number(f.Min()), number(f.Max()))
}

func (c Check) verdict() string {
	word, side := "MISS", "at least"
	if c.Pass {
		word = "PASS"
	}
	if c.AtMost {
		side = "at most"
	}
	f := Figure{Rounds: c.Rounds}
	return fmt.Sprintf("%s%s\t%s, want %s %s", withUnit(c.Value, c.Unit), spread(&f), word, side, withUnit(c.Limit, c.Unit))
}

// Text writes the report's head for people; sections are written as they come.
func (r *Report) Text(out io.Writer) error {
	_, err := fmt.Fprintf(out, "%s\n%s\n\n", r.Started.UTC().Format("2006-01-02 15:04 UTC"), r.Machine)
	return err
}

// describeMachine says on what the figures were measured.
func describeMachine() string {
	model := ""
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
				model = strings.TrimSpace(v)
				break
			}
		}
	}
	load := ""
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		if f := strings.Fields(string(b)); len(f) > 2 {
			load = ", load average before " + strings.Join(f[:3], " ")
		}
	}
	return strings.TrimSpace(fmt.Sprintf("%d cores %s, %s/%s, %s%s", runtime.NumCPU(), model, runtime.GOOS, runtime.GOARCH, runtime.Version(), load))
}
