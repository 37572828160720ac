// Package toolbox finds and runs the real servers that tests need: MinIO, etcd, versitygw.
//
// What belongs here: where install.sh keeps a pinned binary, what a test does when one is missing, and
// running one as a process of the test. What does not: anything about what those servers do; the
// packages that talk to them (objtest, kvtest) know that. Only tests import this package.
package toolbox

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

//go:embed versions.txt
var versions string

// Component is one pinned program.
type Component struct {
	Name    string
	Version string
	Package string // Go import path, or "./dir" in a module beside install.sh
}

// Components returns the pinned programs in the order of versions.txt.
func Components() []Component {
	var all []Component
	for line := range strings.Lines(versions) {
		f := strings.Fields(line)
		if len(f) != 3 || strings.HasPrefix(f[0], "#") {
			continue
		}
		all = append(all, Component{Name: f[0], Version: f[1], Package: f[2]})
	}
	return all
}

// Dir is the directory below which install.sh keeps programs: $FIRN_TOOLS, else .cache/firn/tools in
// the home directory.
func Dir() (string, error) {
	if dir := os.Getenv("FIRN_TOOLS"); dir != "" {
		return dir, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find tools directory: %w", err)
	}
	return filepath.Join(home, ".cache", "firn", "tools"), nil
}

// Find returns the path of the pinned program called name. The error says how to get it.
func Find(name string) (string, error) {
	all := Components()
	i := slices.IndexFunc(all, func(c Component) bool { return c.Name == name })
	if i < 0 {
		return "", fmt.Errorf("toolbox: no pinned program is called %q", name)
	}
	dir, err := Dir()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, name+"-"+all[i].Version, name)
	if st, err := os.Stat(path); err != nil || !st.Mode().IsRegular() {
		return "", fmt.Errorf("toolbox: %s %s is not installed (no %s): run `make tools`", name, all[i].Version, path)
	}
	return path, nil
}

// Need returns the path of the pinned program called name. Where it is missing the test is skipped
// with a line that says how to get it; in CI (CI=true) nothing may be skipped, so there it fails.
func Need(tb testing.TB, name string) string {
	tb.Helper()
	path, err := Find(name)
	switch {
	case err == nil:
		return path
	case os.Getenv("CI") == "true":
		tb.Fatal(err)
	default:
		tb.Skip(err)
	}
	return ""
}
