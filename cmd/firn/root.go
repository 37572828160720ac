package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// app is what the commands share: where they read and write, and what they know of the outside.
type app struct {
	in          io.Reader
	out, errOut io.Writer
	environ     func() []string
	now         func() time.Time
	newNode     newNode
}

func newApp() *app {
	return &app{in: os.Stdin, out: os.Stdout, errOut: os.Stderr, environ: os.Environ, now: time.Now, newNode: startable}
}

// env returns the value of an environment variable, or fallback if it is empty or not set.
func (a *app) env(name, fallback string) string {
	value := ""
	for _, kv := range a.environ() {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			value = v
		}
	}
	if value == "" {
		return fallback
	}
	return value
}

// warn writes a line that is not a result.
func (a *app) warn(format string, args ...any) {
	_, _ = fmt.Fprintf(a.errOut, "firn: "+format+"\n", args...)
}

// isTerminal reports whether f is a terminal, whose reader is a person.
func isTerminal(f any) bool {
	if s, ok := f.(*stickyWriter); ok {
		f = s.w
	}
	file, ok := f.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// usageError is a command that was called wrongly.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// usagef returns a usageError.
func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

func newRoot(a *app) *cobra.Command {
	root := group("firn", "Kafka-protocol broker on local disk, object storage and etcd", `Firn serves the Kafka protocol. New records live on local disk, older ones in object
storage, and what brokers must agree on in etcd.`)
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.errOut)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	root.AddCommand(
		newDev(a), newBroker(a), newConfig(a),
		newTopic(a), newProduce(a), newConsume(a), newGroup(a),
		newTier(a), newCheck(a), newBench(a), newVersion(a),
	)
	return root
}

// group returns a command that only holds others.
func group(use, short, long string) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Long: long,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			hint := ""
			if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
				hint = ", did you mean " + strings.Join(near, " or ") + "?"
			}
			return usagef("%s has no command %q%s", cmd.CommandPath(), args[0], hint)
		},
		SuggestionsMinimumDistance: 2,
	}
}

// argCount makes a wrong number of arguments a usage error that names them. At most max are taken, any
// number if max is negative.
func argCount(minimum, maximum int, what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) < minimum:
			return usagef("missing %s", what)
		case maximum >= 0 && len(args) > maximum:
			return usagef("too many arguments, want %s: %q", what, args[maximum:])
		}
		return nil
	}
}

// noArgs is argCount for a command without arguments.
func noArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("unexpected argument %q", args[0])
	}
	return nil
}
