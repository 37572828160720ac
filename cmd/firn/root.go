package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"firn/metadata/topic"
)

// app is what the commands share: where they read and write, and what they know of the outside.
type app struct {
	in          io.Reader
	out, errOut io.Writer
	environ     func() []string
	now         func() time.Time
	newNode     newNode
	program     string // what a person types to run this program
}

func newApp() *app {
	return &app{
		in: os.Stdin, out: os.Stdout, errOut: os.Stderr, environ: os.Environ, now: time.Now, newNode: startable,
		program: programName(),
	}
}

// programName is firn where the shell finds this very program under that name, else its path, so that lines to
// paste work in any directory.
func programName() string {
	const name = "firn"
	self, err := os.Executable()
	if err != nil {
		return name
	}
	if found, err := exec.LookPath(name); err == nil {
		a, errA := os.Stat(found)
		b, errB := os.Stat(self)
		if errA == nil && errB == nil && os.SameFile(a, b) {
			return name
		}
	}
	return self
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

// warn writes what is not a result. Each of its lines says whose it is.
func (a *app) warn(format string, args ...any) {
	_, _ = fmt.Fprintf(a.errOut, "firn: %s\n", strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "\nfirn: "))
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
	root.Version = buildInfo().String()
	root.SetVersionTemplate("firn {{.Version}}\n")
	root.SetHelpCommand(newHelp())
	if w := terminalWidth(a.out); w > 0 {
		root.SetUsageTemplate(strings.ReplaceAll(root.UsageTemplate(), ".FlagUsages", fmt.Sprint(".FlagUsagesWrapped ", w)))
	}
	root.AddCommand(
		newDev(a), newBroker(a), newCluster(a), newConfig(a),
		newTopic(a), newProduce(a), newConsume(a), newGroup(a),
		newTier(a), newHealth(a), newCheck(a), newBench(a), newVersion(a),
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

// oneTopic is argCount for a topic's name, which must be one.
func oneTopic(cmd *cobra.Command, args []string) error {
	if err := argCount(1, 1, "one TOPIC")(cmd, args); err != nil {
		return err
	}
	if err := topic.ValidateName(args[0]); err != nil {
		return &usageError{err}
	}
	return nil
}

// noArgs is argCount for a command without arguments.
func noArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("unexpected argument %q", args[0])
	}
	return nil
}
