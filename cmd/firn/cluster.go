package main

import "github.com/spf13/cobra"

func newCluster(a *app) *cobra.Command {
	cmd := group("cluster", "Show how a cluster is", "")
	cmd.AddCommand(newClusterStatus(a))
	return cmd
}
