package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"firn/segment"
	"firn/segment/vfs"
)

// finding is something wrong as firn check shows it.
type finding struct {
	Path     string `json:"path"`
	Position int64  `json:"position"` // byte in the file
	What     string `json:"what"`
	Harmless bool   `json:"harmless"` // the broker mends it when it starts
}

func newCheck(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "check DIR...",
		Short: "Verify log directories that no broker has open",
		Long: `Verify every batch, index and snapshot in log directories. Nothing is changed. What the broker
mends by itself when it starts is called harmless; anything else makes the exit code 1.`,
		Example: "  firn check ~/.local/share/firn/dev/log\n  firn check /srv/firn/* --json",
		Args:    argCount(1, -1, "DIR"),
		RunE: func(_ *cobra.Command, args []string) error {
			found := []finding{}
			serious := 0
			for _, dir := range args {
				err := segment.Check(vfs.OS(), dir, func(f segment.Finding) {
					if !f.Harmless {
						serious++
					}
					found = append(found, finding{f.Path, f.Offset, f.What, f.Harmless})
				})
				if err != nil {
					return fmt.Errorf("check %s: %w", dir, err)
				}
			}
			if err := a.printFindings(found, asJSON); err != nil {
				return err
			}
			if serious > 0 {
				return fmt.Errorf("%d of %d findings are damage", serious, len(found))
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "write JSON")
	return cmd
}

func (a *app) printFindings(found []finding, asJSON bool) error {
	if asJSON {
		return writeJSON(a.out, found)
	}
	if len(found) == 0 {
		_, err := fmt.Fprintln(a.out, "nothing found")
		return err
	}
	tab := newTable(a.out, "FILE", "POSITION", "HARMLESS", "WHAT")
	for _, f := range found {
		tab.row(f.Path, f.Position, f.Harmless, f.What)
	}
	return tab.flush()
}
