package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// movedOffset is one partition that reset-offsets moves.
type movedOffset struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Before    int64  `json:"before"` // -1: none
	After     int64  `json:"after"`
}

func newGroupReset(a *app, c *client) *cobra.Command {
	var to string
	var topics []string
	var dryRun, asJSON bool
	cmd := &cobra.Command{
		Use:   "reset-offsets GROUP",
		Short: "Move a group's committed offsets",
		Long: `Move the committed offsets of a group that has no members, in the topics it has offsets for
or in those that --topic names. Offsets are kept within what each partition holds. --to is
` + positionForms + `.`,
		Example: `  firn group reset-offsets readers --to earliest
  firn group reset-offsets readers --to -1h --topic logs --dry-run
  firn group reset-offsets readers --to 1500 --topic logs:0`,
		Args: argCount(1, 1, "one GROUP"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if to == "" {
				return usagef("missing --to: %s", positionForms)
			}
			pos, err := parsePosition("to", to, a.now())
			if err != nil {
				return err
			}
			wanted, err := parseTopicPartitions(topics)
			if err != nil {
				return err
			}
			adm, done, err := c.admin(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			moved, err := resetOffsets(cmd.Context(), adm, args[0], wanted, pos, dryRun)
			if err != nil {
				return fmt.Errorf("reset offsets of group %s: %w", args[0], err)
			}
			if asJSON {
				return writeJSON(a.out, moved)
			}
			tab := newTable(a.out, "TOPIC", "PARTITION", "BEFORE", "AFTER")
			for _, m := range moved {
				tab.row(m.Topic, m.Partition, known(m.Before), m.After)
			}
			return tab.flush()
		},
	}
	f := cmd.Flags()
	f.StringVar(&to, "to", "", "`POSITION` to move to")
	f.StringArrayVar(&topics, "topic", nil, "only `TOPIC[:PARTITION,...]`, any number of times")
	f.BoolVar(&dryRun, "dry-run", false, "show what would be done")
	f.BoolVar(&asJSON, "json", false, "write JSON")
	return cmd
}

// parseTopicPartitions reads TOPIC[:PARTITION,...]; a topic without partitions means all of them.
func parseTopicPartitions(list []string) (map[string][]int32, error) {
	out := map[string][]int32{}
	for _, s := range list {
		name, parts, some := strings.Cut(s, ":")
		if name == "" {
			return nil, usagef("--topic %q: want TOPIC or TOPIC:PARTITION,...", s)
		}
		out[name] = append([]int32(nil), out[name]...)
		if !some {
			continue
		}
		for _, p := range strings.Split(parts, ",") {
			n, err := strconv.ParseUint(p, 10, 31)
			if err != nil {
				return nil, usagef("--topic %q: want TOPIC or TOPIC:PARTITION,...", s)
			}
			out[name] = append(out[name], int32(n))
		}
	}
	return out, nil
}

func resetOffsets(ctx context.Context, adm cluster, name string, wanted map[string][]int32, pos position, dryRun bool) ([]movedOffset, error) {
	groups, err := adm.DescribeGroups(ctx, name)
	if err != nil {
		return nil, err
	}
	if g, err := groups.On(name, nil); err == nil && g.Err == nil && len(g.Members) > 0 {
		return nil, fmt.Errorf("it has %s; stop what reads for it first", plural(len(g.Members), "member"))
	}
	before, err := adm.FetchOffsets(ctx, name)
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) { // a group may begin with a reset
		return nil, brokerError(err, "")
	}
	if len(wanted) == 0 {
		for t := range before {
			wanted[t] = nil
		}
		if len(wanted) == 0 {
			return nil, errors.New("it has no committed offsets; name topics with --topic")
		}
	}
	moved := []movedOffset{}
	commit := kadm.Offsets{}
	for _, t := range slices.Sorted(maps.Keys(wanted)) {
		to, err := resetTargets(ctx, adm, t, wanted[t], pos)
		if err != nil {
			return nil, err
		}
		for _, p := range slices.Sorted(maps.Keys(to)) {
			m := movedOffset{t, p, -1, to[p]}
			if o, ok := before.Lookup(t, p); ok && o.Err == nil {
				m.Before = o.At
			}
			moved = append(moved, m)
			commit.AddOffset(t, p, to[p], -1)
		}
	}
	if dryRun {
		return moved, nil
	}
	resps, err := adm.CommitOffsets(ctx, name, commit)
	if err == nil {
		err = resps.Error()
	}
	return moved, brokerError(err, "")
}

// resetTargets returns the offset that pos means in each wanted partition of a topic, kept within what the
// partition holds.
func resetTargets(ctx context.Context, adm cluster, name string, parts []int32, pos position) (offsets, error) {
	starts, err := resolve(ctx, adm.Client, name, parts, position{kind: atEarliest})
	if err != nil {
		return nil, err
	}
	ends, err := resolve(ctx, adm.Client, name, parts, position{kind: atLatest})
	if err != nil {
		return nil, err
	}
	to, err := resolve(ctx, adm.Client, name, parts, pos)
	if err != nil {
		return nil, err
	}
	if err := checkPartitions(name, slices.Sorted(maps.Keys(to)), parts); err != nil {
		return nil, err
	}
	for p, at := range to {
		if len(parts) > 0 && !slices.Contains(parts, p) {
			delete(to, p)
			continue
		}
		to[p] = min(max(at, starts[p]), ends[p])
	}
	return to, nil
}
