package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"
)

func newTopicDelete(a *app, c *client) *cobra.Command {
	var ifExists bool
	cmd := &cobra.Command{
		Use:     "delete NAME...",
		Short:   "Delete topics with all their records",
		Long:    "Delete topics with all their records, on disk and in object storage. There is no way back.",
		Example: "  firn topic delete logs\n  firn topic delete a b --if-exists",
		Args:    argCount(1, -1, "NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			adm, done, err := c.admin(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			resps, err := adm.DeleteTopics(cmd.Context(), args...)
			if err != nil {
				return fmt.Errorf("delete topics: %w", err)
			}
			var errs []error
			for _, r := range resps.Sorted() {
				switch {
				case r.Err == nil:
					a.printf("deleted %s\n", r.Topic)
				case ifExists && errors.Is(r.Err, kerr.UnknownTopicOrPartition):
					a.printf("%s does not exist\n", r.Topic)
				default:
					errs = append(errs, fmt.Errorf("delete topic %s: %w", r.Topic, brokerError(r.Err, r.ErrMessage)))
				}
			}
			return errors.Join(errs...)
		},
	}
	cmd.Flags().BoolVar(&ifExists, "if-exists", false, "let it be if a topic does not exist")
	return cmd
}
