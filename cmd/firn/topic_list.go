package main

import (
	"fmt"
	"path"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"

	"firn/metadata/topic"
)

// topicLine is one topic as firn topic list shows it.
type topicLine struct {
	Name       string `json:"name"`
	ID         string `json:"id"`
	Partitions int    `json:"partitions"`
	Replicas   int    `json:"replicas"` // of a partition
	Internal   bool   `json:"internal,omitempty"`
	Error      string `json:"error,omitempty"`
}

func newTopicList(a *app, c *client) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "list [PATTERN]",
		Short:   "List topics",
		Long:    "List all topics, or those whose names match a pattern with * and ?.",
		Example: "  firn topic list\n  firn topic list 'logs.*' --json",
		Args:    argCount(0, 1, "at most one PATTERN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			pattern := "*"
			if len(args) == 1 {
				pattern = args[0]
			}
			if _, err := path.Match(pattern, ""); err != nil {
				return usagef("pattern %q: %w", pattern, err)
			}
			adm, done, err := c.admin(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			topics, err := adm.ListTopicsWithInternal(cmd.Context())
			if err != nil {
				return fmt.Errorf("list topics: %w", err)
			}
			lines := []topicLine{}
			for _, t := range topics.Sorted() {
				if ok, _ := path.Match(pattern, t.Topic); ok {
					lines = append(lines, topicLineOf(t))
				}
			}
			if asJSON {
				return writeJSON(a.out, lines)
			}
			tab := newTable(a.out, "NAME", "PARTITIONS", "REPLICAS", "ID")
			for _, l := range lines {
				tab.row(l.Name, l.Partitions, l.Replicas, l.ID)
			}
			return tab.flush()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "write JSON")
	return cmd
}

func topicLineOf(t kadm.TopicDetail) topicLine {
	l := topicLine{Name: t.Topic, ID: topic.ID(t.ID).String(), Partitions: len(t.Partitions), Replicas: t.Partitions.NumReplicas(), Internal: t.IsInternal}
	if t.Err != nil {
		l.Error = brokerError(t.Err, "").Error()
	}
	return l
}
