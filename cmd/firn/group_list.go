package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

// groupLine is one group as firn group list shows it.
type groupLine struct {
	Group       string `json:"group"`
	State       string `json:"state"`
	Protocol    string `json:"protocol_type"`
	Coordinator int32  `json:"coordinator"`
}

func newGroupList(a *app, c *client) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List consumer groups",
		Example: "  firn group list\n  firn group list --json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			adm, done, err := c.admin(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			groups, err := adm.ListGroups(cmd.Context())
			if err != nil {
				return fmt.Errorf("list groups: %w", brokerError(err, ""))
			}
			lines := []groupLine{}
			for _, g := range groups.Sorted() {
				lines = append(lines, groupLine{g.Group, g.State, g.ProtocolType, g.Coordinator})
			}
			if asJSON {
				return writeJSON(a.out, lines)
			}
			tab := newTable(a.out, "GROUP", "STATE", "PROTOCOL", "COORDINATOR")
			for _, l := range lines {
				tab.row(l.Group, l.State, l.Protocol, l.Coordinator)
			}
			return tab.flush()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "write JSON")
	return cmd
}
