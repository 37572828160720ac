package main

import (
	"strings"

	"github.com/spf13/cobra"
)

// newHelp returns the command that shows another one's help. Unlike cobra's own, it fails where there is no
// such command.
func newHelp() *cobra.Command {
	return &cobra.Command{
		Use:     "help [COMMAND]...",
		Short:   "Show what a command does, with examples",
		Example: "  firn help consume\n  firn help topic create",
		RunE: func(cmd *cobra.Command, args []string) error {
			found, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return usagef("there is no command %q", strings.Join(args, " "))
			}
			found.InitDefaultHelpFlag()
			return found.Help()
		},
	}
}
