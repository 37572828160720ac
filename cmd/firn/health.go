package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

const (
	// healthTimeout bounds the answer: a broker that needs longer to say how it is, is not well.
	healthTimeout = 5 * time.Second
	// maxHealthBytes bounds what is taken of it: a few lines.
	maxHealthBytes = 64 << 10
)

func newHealth(a *app) *cobra.Command {
	var addr string
	var ready bool
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask a broker whether it is well, for health checks of containers and scripts",
		Long: `Ask a broker's console whether the broker is well, print what it says, and fail if it is not: a
disk has failed, or the metadata cannot be followed. With --ready it must also serve clients.
It asks once and takes five seconds at most.`,
		Example: "  firn health\n  firn health --ready --http 127.0.0.1:9744",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			path, want := "/healthz", "well"
			if ready {
				path, want = "/readyz", "ready"
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), healthTimeout)
			defer cancel()
			lines, err := health(ctx, addr, path, want)
			_, writeErr := fmt.Fprint(a.out, lines)
			return errors.Join(err, writeErr)
		},
	}
	cmd.Flags().StringVar(&addr, "http", a.env("FIRN_HTTP", "127.0.0.1:9644"), "`HOST:PORT` of the broker's console; also FIRN_HTTP")
	cmd.Flags().BoolVar(&ready, "ready", false, "ask whether it serves clients, too")
	return cmd
}

// health returns what the console at addr says of its checks, and an error unless all of them hold.
func health(ctx context.Context, addr, path, want string) (string, error) {
	resp, err := askConsole(ctx, addr, path, nil)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxHealthBytes))
	host := resp.Request.URL.Host
	switch {
	case err != nil:
		return "", fmt.Errorf("read from %s: %w", host, err)
	case resp.StatusCode == http.StatusOK:
		return string(body), nil
	case resp.StatusCode == http.StatusServiceUnavailable:
		return string(body), fmt.Errorf("the broker at %s is not %s", host, want)
	}
	return "", fmt.Errorf("%s answers %s, so it is no console: %s", host, resp.Status, strings.TrimSpace(string(body)))
}
