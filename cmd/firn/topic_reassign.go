package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
)

// movingPartition is a reassignment under way as firn topic reassign shows it.
type movingPartition struct {
	Topic     string    `json:"topic"`
	Partition int32     `json:"partition"`
	Replicas  brokerIDs `json:"replicas"` // those to end with, then those to go
	Adding    brokerIDs `json:"adding"`
	Removing  brokerIDs `json:"removing"`
}

func newTopicReassign(a *app, c *client) *cobra.Command {
	var assign []string
	var cancel, wait, unthrottled, asJSON bool
	var rate byteSize
	cmd := &cobra.Command{
		Use:   "reassign NAME",
		Short: "Move a topic's replicas to other brokers, or show what moves",
		Long: `Have partitions of a topic end with exactly the replicas given, the preferred leader first. Records
are readable and writable all the time, and what is archived is not copied. Without --assign and
--cancel it only shows the reassignments under way.

--throttle holds the copying back on each broker that is copied from or to, and can be given again to
change that. With --wait it is lifted at the end, else by --no-throttle; replicas in sync are never held
back. It sets and clears leader. and follower.replication.throttled.replicas and .rate (KIP-73).`,
		Example: `  firn topic reassign logs --assign 0=2,3,1 --assign 1=3,1,2 --throttle 20MiB --wait
  firn topic reassign logs --json
  firn topic reassign logs --cancel`,
		Args: oneTopic,
		RunE: func(cmd *cobra.Command, args []string) error {
			req, err := assignments(args[0], assign)
			if err != nil {
				return err
			}
			throttled := cmd.Flags().Changed("throttle")
			switch {
			case cancel && len(assign) > 0:
				return usagef("--cancel and --assign exclude each other")
			case throttled && (unthrottled || rate <= 0):
				return usagef("--throttle takes a number of bytes above 0, and excludes --no-throttle")
			}
			adm, done, err := c.admin(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			if !throttled {
				rate = 0
			}
			if err := move(cmd.Context(), adm, args[0], req, int64(rate), cancel); err != nil {
				return err
			}
			if unthrottled { // before it waits for what the throttle may hold for ever
				if err := unthrottle(cmd.Context(), adm, args[0]); err != nil {
					return err
				}
			}
			list, err := awaitMoves(cmd.Context(), adm, args[0], wait)
			if err != nil {
				return fmt.Errorf("reassign %s: %w", args[0], err)
			}
			if wait && (throttled || unthrottled) {
				if err := unthrottle(cmd.Context(), adm, args[0]); err != nil {
					return err
				}
			}
			if asJSON {
				return writeJSON(a.out, list)
			}
			return printMoves(a, args[0], list)
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&assign, "assign", nil, "replicas of a partition as `PARTITION=BROKER,...`, any number of times")
	f.BoolVar(&cancel, "cancel", false, "put back every partition of the topic that is moving")
	f.Var(&rate, "throttle", "hold the copying to so many `BYTES` a second from and to each broker")
	f.BoolVar(&unthrottled, "no-throttle", false, "lift the throttle")
	f.BoolVar(&wait, "wait", false, "return when no partition of the topic is moving any more")
	f.BoolVar(&asJSON, "json", false, "write JSON")
	return cmd
}

func printMoves(a *app, name string, list []movingPartition) error {
	if len(list) == 0 {
		a.printf("no partition of %s is moving\n", name)
		return nil
	}
	tab := newTable(a.out, "PARTITION", "REPLICAS", "ADDING", "REMOVING")
	for _, m := range list {
		tab.row(m.Partition, joinInts(m.Replicas), joinInts(m.Adding), joinInts(m.Removing))
	}
	return tab.flush()
}

// assignments reads --assign.
func assignments(name string, list []string) (kadm.AlterPartitionAssignmentsReq, error) {
	kvs, err := keyValues("assign", list)
	if err != nil {
		return nil, err
	}
	var req kadm.AlterPartitionAssignmentsReq
	for i, kv := range kvs {
		p, err := strconv.ParseInt(kv[0], 10, 32)
		var brokers []int32
		for s := range strings.SplitSeq(kv[1], ",") {
			id, errID := strconv.ParseInt(strings.TrimSpace(s), 10, 32)
			err = errors.Join(err, errID)
			brokers = append(brokers, int32(id))
		}
		if err != nil || p < 0 {
			return nil, usagef("--assign %q: want PARTITION=BROKER,... in numbers", list[i])
		}
		if req[name][int32(p)] != nil {
			return nil, usagef("--assign names partition %d twice", p)
		}
		req.Assign(name, int32(p), brokers)
	}
	return req, nil
}

// move has a topic's partitions move, or move back, at no more than so many bytes a second unless that is 0. If nothing of
// the topic does after an error, no throttle stays either: it would hold back what has to catch up some day.
func move(ctx context.Context, adm cluster, name string, req kadm.AlterPartitionAssignmentsReq, bytesPerSecond int64, cancel bool) error {
	var err error
	if bytesPerSecond > 0 {
		err = throttle(ctx, adm, name, req, bytesPerSecond)
	}
	if err == nil {
		err = reassign(ctx, adm, name, req, cancel)
	}
	if err == nil || bytesPerSecond == 0 {
		return err
	}
	if list, unknown := moves(ctx, adm, name); unknown == nil && len(list) == 0 {
		err = errors.Join(err, unthrottle(ctx, adm, name))
	}
	return err
}

// reassign sends what was asked for, or with cancel the end of all that is under way.
func reassign(ctx context.Context, adm cluster, name string, req kadm.AlterPartitionAssignmentsReq, cancel bool) error {
	if cancel {
		list, err := moves(ctx, adm, name)
		if err != nil {
			return fmt.Errorf("reassign %s: %w", name, err)
		}
		for _, m := range list {
			req.CancelAssign(name, m.Partition)
		}
	}
	if len(req) == 0 {
		return nil
	}
	resps, err := adm.AlterPartitionAssignments(ctx, req)
	if err != nil {
		return fmt.Errorf("reassign %s: %w", name, err)
	}
	var errs []error
	for _, r := range resps.Sorted() {
		if r.Err != nil {
			errs = append(errs, fmt.Errorf("reassign %s-%d: %w", name, r.Partition, brokerError(r.Err, r.ErrMessage)))
		}
	}
	return errors.Join(errs...)
}

// moves returns what is moving of a topic.
func moves(ctx context.Context, adm cluster, name string) ([]movingPartition, error) {
	details, err := adm.ListTopicsWithInternal(ctx, name)
	if err != nil {
		return nil, err
	}
	if err := details[name].Err; err != nil {
		return nil, missingTopic(err)
	}
	var set kadm.TopicsSet
	for p := range details[name].Partitions {
		set.Add(name, p)
	}
	resps, err := adm.ListPartitionReassignments(ctx, set)
	if err != nil {
		return nil, err
	}
	list := []movingPartition{}
	for _, r := range resps.Sorted() {
		list = append(list, movingPartition{r.Topic, r.Partition, r.Replicas, r.AddingReplicas, r.RemovingReplicas})
	}
	return list, nil
}

// awaitMoves returns what is moving, with wait once that is nothing.
func awaitMoves(ctx context.Context, adm cluster, name string, wait bool) ([]movingPartition, error) {
	for {
		list, err := moves(ctx, adm, name)
		if err != nil || !wait || len(list) == 0 {
			return list, err
		}
		if err := pause(ctx, departurePoll); err != nil {
			return nil, err
		}
	}
}
