// Command firn is the broker and everything an operator needs beside it.
//
// What belongs here: flags, files and environment turned into one call, and the client commands' words.
// What does not: anything another program might want to do too. One file holds one subcommand.
//
// Exit codes: 0 for success, 1 for an error, 2 for a command that was called wrongly.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// The exit codes.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	code := run(ctx, newApp(), os.Args[1:])
	stop()
	os.Exit(code)
}

// run executes one command line and returns its exit code.
func run(ctx context.Context, a *app, args []string) int {
	out := &stickyWriter{w: a.out}
	own := *a
	own.out, a = out, &own
	root := newRoot(a)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil && out.err != nil {
		err = fmt.Errorf("write: %w", out.err)
	}
	var usage *usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage):
		a.warn("%v", err)
		_, _ = fmt.Fprintf(a.errOut, "Try '%s --help'.\n", cmd.CommandPath())
		return exitUsage
	default:
		a.warn("%v", err)
		return exitError
	}
}
