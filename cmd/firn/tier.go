package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"firn/broker/console"
)

func newTier(a *app) *cobra.Command {
	cmd := group("tier", "Show what is where: on local disk and in object storage", "")
	cmd.AddCommand(newTierStatus(a))
	return cmd
}

func newTierStatus(a *app) *cobra.Command {
	var addr string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status [TOPIC]",
		Short: "Show each partition's offsets, bytes and lag in both tiers",
		Long: `Show, for each partition that the asked broker leads, the offsets at which the log, its local
part, its archived part, its readable part and the log itself begin and end, the bytes and segments
in both tiers, and how far archiving is behind.`,
		Example: "  firn tier status\n  firn tier status logs --json\n  firn tier status --http 127.0.0.1:9744",
		Args:    argCount(0, 1, "at most one TOPIC"),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := ""
			if len(args) == 1 {
				name = args[0]
			}
			list, err := fetchTier(cmd.Context(), addr, name)
			if err != nil {
				return fmt.Errorf("tier status: %w", err)
			}
			if asJSON {
				return writeJSON(a.out, list)
			}
			return printTier(a.out, list)
		},
	}
	cmd.Flags().StringVar(&addr, "http", a.env("FIRN_HTTP", "127.0.0.1:9644"), "`HOST:PORT` of a broker's console; also FIRN_HTTP")
	cmd.Flags().BoolVar(&asJSON, "json", false, "write JSON")
	return cmd
}

const (
	tierTimeout = 30 * time.Second
	// maxTierBytes bounds what is taken from a console: some 300,000 partitions.
	maxTierBytes = 128 << 20
)

// fetchTier asks a broker's console.
func fetchTier(ctx context.Context, addr, name string) ([]console.TierPartition, error) {
	if !strings.Contains(addr, "://") {
		addr = "http://" + addr
	}
	u, err := url.Parse(addr)
	if err != nil || u.Host == "" {
		return nil, usagef("--http %q: want HOST:PORT", addr)
	}
	u = u.JoinPath("/v1/tier")
	u.RawQuery = url.Values{"topic": {name}}.Encode()
	ctx, cancel := context.WithTimeout(ctx, tierTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxTierBytes))
	if err != nil {
		return nil, fmt.Errorf("read from %s: %w", u.Host, err)
	}
	if resp.StatusCode != http.StatusOK {
		var e struct{ Error string }
		if json.Unmarshal(body, &e) == nil && e.Error != "" {
			return nil, errors.New(e.Error)
		}
		return nil, fmt.Errorf("%s answers %s", u.Host, resp.Status)
	}
	list := []console.TierPartition{}
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, fmt.Errorf("read from %s: %w", u.Host, err)
	}
	return list, nil
}

func printTier(out io.Writer, list []console.TierPartition) error {
	tab := newTable(out, "TOPIC", "PARTITION", "START", "LOCAL", "TIERED", "HW", "END",
		"LOCAL SIZE", "SEGMENTS", "TIERED SIZE", "OBJECTS", "LAG", "LAG AGE", "ERROR")
	for _, p := range list {
		tiered, size, objects, lag, age := "", "", "", "", ""
		if p.Tiered || p.TieredSegments > 0 {
			tiered, size, objects = known(p.TieredEnd), humanBytes(p.TieredBytes), fmt.Sprint(p.TieredSegments)
			lag, age = humanBytes(p.LagBytes), time.Duration(p.LagSeconds*float64(time.Second)).Round(time.Second).String()
		}
		tab.row(p.Topic, p.Partition, known(p.LogStart), known(p.LocalStart), tiered, known(p.HighWatermark), known(p.End),
			humanBytes(p.LocalBytes), p.LocalSegments, size, objects, lag, age, p.Error)
	}
	return tab.flush()
}
