package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"firn/bench"
)

// suiteCommand runs a suite and prints what it measures.
type suiteCommand struct {
	app   *app
	suite *bench.Suite
	json  bool
}

// addTo adds the flags of every suite.
func (c *suiteCommand) addTo(cmd *cobra.Command) {
	s, f := c.suite, cmd.Flags()
	f.StringVar(&s.Dir, "dir", os.TempDir(), "`DIR` for all data, on the disk that is to be measured; what is made in it is deleted")
	f.StringVar(&s.Etcd, "etcd", c.app.tool("etcd"), "etcd's `PROGRAM`, which firn broker needs")
	f.IntVar(&s.Rounds, "rounds", 3, "how often everything is done; those that are compared take turns")
	f.StringSliceVar(&s.Only, "only", nil, "only these `PARTS`, with commas between")
	f.BoolVar(&c.json, "json", false, "print JSON, at the end")
}

func (c *suiteCommand) run(ctx context.Context) error {
	s := c.suite
	var err error
	if s.Probes, err = probesOf(c.app); err != nil {
		return err
	}
	s.Firn = s.Probes.Command[0]
	s.Done = func(sec *bench.Section) error {
		if c.json {
			return nil
		}
		return sec.Text(c.app.out)
	}
	r, err := s.Run(ctx)
	if err != nil {
		return err
	}
	if c.json {
		return writeJSON(c.app.out, r)
	}
	fmt.Fprintln(c.app.out, r.Machine)
	fmt.Fprintf(c.app.out, "%d checks missed\n", r.Missed())
	return nil
}

// tool finds a program that deploy/tools/install.sh has built, "" if there is none.
func (a *app) tool(name string) string {
	dir := a.env("FIRN_TOOLS", filepath.Join(a.env("HOME", ""), ".cache", "firn", "tools"))
	found, _ := filepath.Glob(filepath.Join(dir, name+"-*", name)) // fails only on a bad pattern
	if len(found) == 0 {
		return ""
	}
	return found[len(found)-1]
}
