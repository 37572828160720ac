package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// describedGroup is one group as firn group describe shows it.
type describedGroup struct {
	Group       string            `json:"group"`
	State       string            `json:"state"`
	Protocol    string            `json:"protocol"`
	Coordinator int32             `json:"coordinator"`
	Members     []describedMember `json:"members"`
	Offsets     []groupOffset     `json:"offsets"`
	Lag         int64             `json:"lag"` // of all partitions that are known
}

type describedMember struct {
	ID       string `json:"id"`
	Instance string `json:"instance,omitempty"`
	Client   string `json:"client"`
	Host     string `json:"host"`
}

// groupOffset is how far a group has come in one partition. Committed, End and Lag are -1 where they are
// not known.
type groupOffset struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Committed int64  `json:"committed"`
	End       int64  `json:"end"`
	Lag       int64  `json:"lag"`
	Member    string `json:"member,omitempty"`
	Error     string `json:"error,omitempty"`
}

func newGroupDescribe(a *app, c *client) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "describe GROUP...",
		Short:   "Show a group's members, offsets and lag",
		Example: "  firn group describe readers\n  firn group describe a b --json",
		Args:    argCount(1, -1, "GROUP"),
		RunE: func(cmd *cobra.Command, args []string) error {
			adm, done, err := c.admin(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			list, err := describeGroups(cmd.Context(), adm, args)
			if err != nil && len(list) == 0 {
				return err
			}
			if asJSON {
				return errors.Join(err, writeJSON(a.out, list))
			}
			for i, g := range list {
				if i > 0 {
					a.printf("\n")
				}
				err = errors.Join(err, printGroup(a.out, g))
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "write JSON")
	return cmd
}

func describeGroups(ctx context.Context, adm cluster, names []string) ([]describedGroup, error) {
	lags, err := adm.Lag(ctx, names...)
	if err != nil {
		return nil, fmt.Errorf("describe groups: %w", brokerError(err, ""))
	}
	list := []describedGroup{}
	var errs []error
	for _, l := range lags.Sorted() {
		if err := groupError(l); err != nil {
			errs = append(errs, fmt.Errorf("describe group %s: %w", l.Group, err))
			continue
		}
		list = append(list, describeGroup(l))
	}
	return list, errors.Join(errs...)
}

// groupError is why a group cannot be described. A group that nobody has heard of is Dead.
func groupError(l kadm.DescribedGroupLag) error {
	if err := l.Error(); err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return brokerError(err, "")
	}
	if l.State == "Dead" && len(l.Lag) == 0 || errors.Is(l.Error(), kerr.GroupIDNotFound) {
		return brokerError(kerr.GroupIDNotFound, "there is no such group")
	}
	return nil
}

func describeGroup(l kadm.DescribedGroupLag) describedGroup {
	g := describedGroup{
		Group: l.Group, State: l.State, Protocol: l.Protocol, Coordinator: l.Coordinator.NodeID,
		Members: []describedMember{}, Offsets: []groupOffset{},
	}
	for _, m := range l.Members {
		g.Members = append(g.Members, describedMember{m.MemberID, deref(m.InstanceID), m.ClientID, m.ClientHost})
	}
	for _, p := range l.Lag.Sorted() {
		o := groupOffset{Topic: p.Topic, Partition: p.Partition, Committed: p.Commit.At, End: p.End.Offset, Lag: p.Lag}
		if p.Member != nil {
			o.Member = p.Member.MemberID
		}
		if p.Err != nil {
			o.End, o.Lag, o.Error = -1, -1, brokerError(p.Err, "").Error()
		}
		if o.Lag > 0 {
			g.Lag += o.Lag
		}
		g.Offsets = append(g.Offsets, o)
	}
	return g
}

func printGroup(out io.Writer, g describedGroup) error {
	_, _ = fmt.Fprintf(out, "%s  %s, protocol %s, coordinator %d, lag %d\n", g.Group, g.State, orDash(g.Protocol), g.Coordinator, g.Lag)
	if len(g.Members) > 0 {
		tab := newTable(out, "MEMBER", "INSTANCE", "CLIENT", "HOST")
		for _, m := range g.Members {
			tab.row(m.ID, m.Instance, m.Client, m.Host)
		}
		if err := tab.flush(); err != nil {
			return err
		}
	}
	tab := newTable(out, "TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "MEMBER", "ERROR")
	for _, o := range g.Offsets {
		tab.row(o.Topic, o.Partition, known(o.Committed), known(o.End), known(o.Lag), o.Member, o.Error)
	}
	return tab.flush()
}

// known writes an offset, or nothing where it is not known.
func known(n int64) string {
	if n < 0 {
		return ""
	}
	return fmt.Sprint(n)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
