package main

import "github.com/spf13/cobra"

func newTopic(a *app) *cobra.Command {
	cmd := group("topic", "Create, list, describe, alter, move and delete topics", "")
	c := clientFlags(a, cmd)
	cmd.AddCommand(newTopicCreate(a, c), newTopicList(a, c), newTopicDescribe(a, c), newTopicAlter(a, c), newTopicReassign(a, c), newTopicDelete(a, c))
	return cmd
}
