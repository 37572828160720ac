package api

import (
	"fmt"
	"strings"
)

// VersionsTable returns the table of what clients are served in Markdown, one row for each key.
func VersionsTable() string {
	var b strings.Builder
	b.WriteString("| key | API | versions |\n| -: | - | - |\n")
	for _, s := range Versions() {
		if s.Hidden {
			continue
		}
		versions := fmt.Sprintf("%d-%d", s.Min, s.Max)
		if s.Min == s.Max {
			versions = fmt.Sprint(s.Min)
		}
		if s.Listed != s.Min {
			versions += fmt.Sprintf(" (listed from %d)", s.Listed)
		}
		fmt.Fprintf(&b, "| %d | %s | %s |\n", s.Key, s.Key.Name(), versions)
	}
	return b.String()
}
