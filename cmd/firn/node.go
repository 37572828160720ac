package main

import (
	"context"
	"errors"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"firn/broker"
)

// node is a broker as the commands run it.
type node interface {
	// Run starts the broker, serves until ctx ends and stops it in order.
	Run(ctx context.Context) error
	// Ready is closed once clients are served.
	Ready() <-chan struct{}
	// Addr and HTTPAddr say where, once Ready is closed.
	Addr() string
	HTTPAddr() string
}

// newNode makes a broker. Tests put their own in its place.
type newNode func(cfg broker.Config, logger *slog.Logger) (node, error)

// serve runs a broker until ctx ends; ready is called once it serves, and its error stops the broker.
func serve(ctx context.Context, n node, ready func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stopped := make(chan error, 1)
	go func() { stopped <- n.Run(ctx) }()
	select {
	case err := <-stopped:
		if err == nil && ctx.Err() == nil {
			err = errors.New("broker stopped by itself")
		}
		return err
	case <-n.Ready():
	}
	readyErr := ready(ctx)
	if readyErr != nil {
		if ctx.Err() != nil {
			readyErr = nil // stopped while it got ready, which is no fault
		}
		cancel()
	}
	return errors.Join(readyErr, <-stopped)
}

// logger writes to the standard error as the settings say.
func (a *app) logger(l broker.Logging) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(l.Level)); err != nil {
		level = slog.LevelInfo
	}
	opts := &slog.HandlerOptions{Level: level}
	if l.Format == "json" {
		return slog.New(slog.NewJSONHandler(a.errOut, opts))
	}
	return slog.New(slog.NewTextHandler(a.errOut, opts))
}

// settingFlags are the flags that stand for settings.
type settingFlags struct {
	file string
	set  []string
}

func (s *settingFlags) addSet(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&s.set, "set", nil, "a setting as `KEY=VALUE`, any number of times; 'firn config' lists them")
}

func (s *settingFlags) addFile(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.file, "config", "", "`FILE` of settings, one key=value a line")
}

// load lays file, environment and flags over base; more are flags of their own that stand for settings.
func (a *app) load(base broker.Config, s settingFlags, more ...broker.Flag) (broker.Config, error) {
	kvs, err := keyValues("set", s.set)
	if err != nil {
		return broker.Config{}, err
	}
	flags := more
	for _, kv := range kvs {
		flags = append(flags, broker.Flag{Name: "--set", Key: kv[0], Value: kv[1]})
	}
	cfg, warnings, err := broker.LoadConfig(base, broker.Layers{File: s.file, Env: a.environ(), Flags: flags})
	for _, w := range warnings {
		a.warn("%s", w)
	}
	return cfg, settingsUsage(err)
}

// settingsUsage makes an error about settings one about how the command was called, if nothing but flags
// is to blame.
func settingsUsage(err error) error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return err
	}
	for _, e := range joined.Unwrap() {
		var se *broker.SettingError
		if !errors.As(e, &se) || se.From.Kind != broker.FromFlag {
			return err
		}
	}
	return &usageError{err}
}

// plaintextListener makes a listener of HOST:PORT, or leaves what is one already.
func plaintextListener(addr string) string {
	if strings.Contains(addr, "://") {
		return addr
	}
	return "PLAINTEXT://" + addr
}
