package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

func newGroupDelete(a *app, c *client) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "delete GROUP...",
		Short:   "Delete consumer groups with their offsets",
		Long:    "Delete consumer groups that have no members, with their committed offsets.",
		Example: "  firn group delete readers",
		Args:    argCount(1, -1, "GROUP"),
		RunE: func(cmd *cobra.Command, args []string) error {
			adm, done, err := c.admin(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			resps, err := adm.DeleteGroups(cmd.Context(), args...)
			if err != nil {
				return fmt.Errorf("delete groups: %w", err)
			}
			var errs []error
			for _, r := range resps.Sorted() {
				if r.Err != nil {
					errs = append(errs, fmt.Errorf("delete group %s: %w", r.Group, brokerError(r.Err, "")))
					continue
				}
				a.printf("deleted %s\n", r.Group)
			}
			return errors.Join(errs...)
		},
	}
	return cmd
}
