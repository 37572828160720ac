package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
)

// describedBroker is one broker as firn broker describe shows it.
type describedBroker struct {
	brokerLine
	Partitions []brokerPartition `json:"partition_list"`
}

// brokerPartition is a replica that a broker has or is to have.
type brokerPartition struct {
	Topic     string    `json:"topic"`
	Partition int32     `json:"partition"`
	Leader    int32     `json:"leader"`
	Replicas  brokerIDs `json:"replicas"`
	ISR       brokerIDs `json:"isr"`
	State     string    `json:"state"` // leads, in sync, behind; then adding or removing
}

func newBrokerDescribe(a *app) *cobra.Command {
	var c *client
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "describe BROKER",
		Short:   "Show a broker and the replicas it has",
		Long:    "Show the broker with this node.id, up or down, and for each of its replicas whether it leads or is in sync.",
		Example: "  firn broker describe 2\n  firn broker describe 2 --json",
		Args:    argCount(1, 1, "one BROKER"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := oneBroker(args)
			if err != nil {
				return err
			}
			adm, done, err := c.admin(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			d, err := describeBroker(cmd.Context(), adm, id)
			if err != nil {
				return fmt.Errorf("describe broker %d: %w", id, err)
			}
			if asJSON {
				return writeJSON(a.out, d)
			}
			return printBroker(a.out, d)
		},
	}
	c = clientFlags(a, cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "write JSON")
	return cmd
}

func describeBroker(ctx context.Context, adm cluster, id int32) (describedBroker, error) {
	v, err := adm.view(ctx)
	if err != nil {
		return describedBroker{}, err
	}
	line, ok := v.broker(id)
	if !ok {
		return describedBroker{}, fmt.Errorf("there is no such broker")
	}
	d := describedBroker{brokerLine: line, Partitions: []brokerPartition{}}
	for _, t := range v.Topics.Sorted() {
		for _, p := range t.Partitions.Sorted() {
			if slices.Contains(p.Replicas, id) {
				d.Partitions = append(d.Partitions, brokerPartition{t.Topic, p.Partition, p.Leader, p.Replicas, p.ISR, replicaState(p, v.Moves, id)})
			}
		}
	}
	return d, nil
}

// replicaState puts a broker's part in a partition in words.
func replicaState(p kadm.PartitionDetail, moves kadm.ListPartitionReassignmentsResponses, id int32) string {
	words := []string{"behind"}
	switch {
	case p.Leader == id:
		words[0] = "leads"
	case slices.Contains(p.ISR, id):
		words[0] = "in sync"
	}
	switch m := moves[p.Topic][p.Partition]; {
	case slices.Contains(m.AddingReplicas, id):
		words = append(words, "adding")
	case slices.Contains(m.RemovingReplicas, id):
		words = append(words, "removing")
	}
	return strings.Join(words, ", ")
}

func printBroker(out io.Writer, d describedBroker) error {
	if err := printBrokers(out, []brokerLine{d.brokerLine}); err != nil {
		return err
	}
	_, _ = fmt.Fprintln(out)
	tab := newTable(out, "TOPIC", "PARTITION", "LEADER", "REPLICAS", "ISR", "STATE")
	for _, p := range d.Partitions {
		tab.row(p.Topic, p.Partition, p.Leader, joinInts(p.Replicas), joinInts(p.ISR), p.State)
	}
	return tab.flush()
}
