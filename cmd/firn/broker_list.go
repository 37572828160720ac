package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// brokerLine is one broker as firn broker list shows it.
type brokerLine struct {
	ID         int32  `json:"id"`
	Up         bool   `json:"up"`
	Address    string `json:"address,omitempty"` // "" while it is down
	Rack       string `json:"rack,omitempty"`
	Controller bool   `json:"controller"`
	Leads      int    `json:"leads"`    // partitions
	Replicas   int    `json:"replicas"` // it has, or is to have
	InSync     int    `json:"in_sync"`  // of them
	Removing   int    `json:"removing"` // of them are on their way to other brokers
}

// clusterView is what the brokers tell of themselves and of all partitions.
type clusterView struct {
	Controller int32
	Brokers    []brokerLine
	Topics     kadm.TopicDetails
	Moves      kadm.ListPartitionReassignmentsResponses
}

func newBrokerList(a *app) *cobra.Command {
	var c *client
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the brokers of a cluster, those that are down too",
		Long: `List the brokers of a cluster with the partitions they lead and the replicas they have.
Brokers that are registered and down are listed too.`,
		Example: "  firn broker list\n  firn broker list --json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			adm, done, err := c.admin(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			v, err := adm.view(cmd.Context())
			if err != nil {
				return fmt.Errorf("list brokers: %w", err)
			}
			if asJSON {
				return writeJSON(a.out, v.Brokers)
			}
			return printBrokers(a.out, v.Brokers)
		},
	}
	c = clientFlags(a, cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "write JSON")
	return cmd
}

func printBrokers(out io.Writer, list []brokerLine) error {
	tab := newTable(out, "BROKER", "STATE", "ADDRESS", "RACK", "LEADS", "REPLICAS", "IN SYNC", "REMOVING", "CONTROLLER")
	for _, b := range list {
		state, controller := "down", ""
		if b.Up {
			state = "up"
		}
		if b.Controller {
			controller = "yes"
		}
		tab.row(b.ID, state, b.Address, b.Rack, b.Leads, b.Replicas, b.InSync, b.Removing, controller)
	}
	return tab.flush()
}

// view asks for everything about brokers and partitions.
func (adm cluster) view(ctx context.Context) (clusterView, error) {
	req := kmsg.NewPtrDescribeClusterRequest()
	req.IncludeFencedBrokers = true
	resp, err := req.RequestWith(ctx, adm.plain)
	if err == nil {
		err = brokerError(kerr.ErrorForCode(resp.ErrorCode), deref(resp.ErrorMessage))
	}
	if err != nil {
		return clusterView{}, err
	}
	v := clusterView{Controller: resp.ControllerID, Brokers: []brokerLine{}}
	for _, b := range resp.Brokers {
		line := brokerLine{ID: b.NodeID, Up: !b.IsFenced, Rack: deref(b.Rack), Controller: b.NodeID == resp.ControllerID}
		if line.Up {
			line.Address = net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port)))
		}
		v.Brokers = append(v.Brokers, line)
	}
	slices.SortFunc(v.Brokers, func(a, b brokerLine) int { return int(a.ID - b.ID) })
	if v.Topics, err = adm.ListTopicsWithInternal(ctx); err != nil {
		return clusterView{}, err
	}
	if v.Moves, err = adm.ListPartitionReassignments(ctx, nil); err != nil {
		return clusterView{}, err
	}
	v.count()
	return v, nil
}

// count fills in what each broker leads and has.
func (v *clusterView) count() {
	at := map[int32]*brokerLine{}
	for i := range v.Brokers {
		at[v.Brokers[i].ID] = &v.Brokers[i]
	}
	each := func(list []int32, fn func(*brokerLine)) {
		for _, id := range list {
			if b := at[id]; b != nil {
				fn(b)
			}
		}
	}
	for _, t := range v.Topics {
		for _, p := range t.Partitions {
			each([]int32{p.Leader}, func(b *brokerLine) { b.Leads++ })
			each(p.Replicas, func(b *brokerLine) { b.Replicas++ })
			each(p.ISR, func(b *brokerLine) { b.InSync++ })
		}
	}
	v.Moves.Each(func(m kadm.ListPartitionReassignmentsResponse) {
		each(m.RemovingReplicas, func(b *brokerLine) { b.Removing++ })
	})
}

// broker returns one of the brokers.
func (v *clusterView) broker(id int32) (brokerLine, bool) {
	i := slices.IndexFunc(v.Brokers, func(b brokerLine) bool { return b.ID == id })
	if i < 0 {
		return brokerLine{}, false
	}
	return v.Brokers[i], true
}

// oneBroker reads the argument of a command about one broker.
func oneBroker(args []string) (int32, error) {
	id, err := strconv.ParseInt(args[0], 10, 32)
	if err != nil || id < 0 {
		return 0, usagef("BROKER %q: want a number, its node.id", args[0])
	}
	return int32(id), nil
}
