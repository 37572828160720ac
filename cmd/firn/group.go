package main

import "github.com/spf13/cobra"

func newGroup(a *app) *cobra.Command {
	cmd := group("group", "List, describe, reset and delete consumer groups", "")
	c := clientFlags(a, cmd)
	cmd.AddCommand(newGroupList(a, c), newGroupDescribe(a, c), newGroupReset(a, c), newGroupDelete(a, c))
	return cmd
}
