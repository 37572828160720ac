package main

import (
	"errors"
	"fmt"
	"io"
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
	var c *client
	var addr string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status [TOPIC]",
		Short: "Show each partition's offsets, bytes and lag in both tiers",
		Long: `Show, for each partition, the offsets at which the log, its local part, its archived part, its
readable part and the log itself begin and end, the bytes and segments in both tiers, and how far
archiving is behind, as its leader tells. With --json every replica is listed, those that do not
lead with the leader -1.

Brokers tell it over HTTP: each one of the cluster is asked for its http.listen and then there, or
only the one that --http names. If one does not tell, the exit code is 1, and what the others tell is
shown.`,
		Example: "  firn tier status\n  firn tier status logs --json\n  firn tier status --http 127.0.0.1:9744",
		Args:    argCount(0, 1, "at most one TOPIC"),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := ""
			if len(args) == 1 {
				name = args[0]
			}
			list, err := c.tierStatus(cmd.Context(), addr, name)
			if err != nil {
				err = fmt.Errorf("tier status: %w", err)
			}
			switch {
			case err != nil && len(list) == 0:
				return err
			case asJSON:
				return errors.Join(err, writeJSON(a.out, list))
			}
			return errors.Join(err, printTier(a.out, list))
		},
	}
	c = clientFlags(a, cmd)
	cmd.Flags().StringVar(&addr, "http", a.env("FIRN_HTTP", ""), "`HOST:PORT` of one broker's console, which alone is asked; also FIRN_HTTP")
	cmd.Flags().BoolVar(&asJSON, "json", false, "write JSON")
	return cmd
}

// printTier writes one row for each partition that somebody leads, and else for each of its replicas, as for those with an
// error: of how far archiving is behind only the leader knows.
func printTier(out io.Writer, list []console.TierPartition) error {
	type id struct {
		topic     string
		partition int32
	}
	led := map[id]bool{}
	for _, p := range list {
		led[id{p.Topic, p.Partition}] = led[id{p.Topic, p.Partition}] || p.Leader >= 0
	}
	tab := newTable(out, "TOPIC", "PARTITION", "START", "LOCAL", "TIERED", "HW", "END",
		"LOCAL SIZE", "SEGMENTS", "TIERED SIZE", "OBJECTS", "LAG", "LAG AGE", "ERROR")
	for _, p := range list {
		if p.Leader < 0 && p.Error == "" && led[id{p.Topic, p.Partition}] {
			continue
		}
		tiered, size, objects, lag, age := "", "", "", "", ""
		if p.Tiered || p.TieredSegments > 0 {
			tiered, size, objects = known(p.TieredEnd), humanBytes(p.TieredBytes), fmt.Sprint(p.TieredSegments)
		}
		if p.Leader >= 0 && objects != "" {
			lag, age = humanBytes(p.LagBytes), time.Duration(p.LagSeconds*float64(time.Second)).Round(time.Second).String()
		}
		tab.row(p.Topic, p.Partition, known(p.LogStart), known(p.LocalStart), tiered, known(p.HighWatermark), known(p.End),
			humanBytes(p.LocalBytes), p.LocalSegments, size, objects, lag, age, p.Error)
	}
	return tab.flush()
}
